package bench

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// capture captures the TCP packets of one network interface. It has no goroutine: the kernel timestamps the packets and buffers them until
// they are read.
type capture struct{ socket int }

// packet is a captured TCP packet.
type packet struct {
	at       time.Time
	from, to int  // ports
	bytes    int  // of its payload
	opens    bool // it opens a connection
}

// bufferSize is the size of the kernel's buffer, in bytes. It is enough for the packets of several jobs.
const bufferSize = 8 << 20

// openCapture captures the packets of the interface that has the address. It skips the benchmark if it has no permission.
func openCapture(b *testing.B, address string) *capture {
	b.Helper()
	// Only ETH_P_ALL includes outgoing packets.
	socket, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, int(bigEndian(unix.ETH_P_ALL)))
	if errors.Is(err, unix.EPERM) {
		b.Skip("capturing packets needs root (sudo) or CAP_NET_RAW")
	}
	must(b, err)
	w := &capture{socket}
	b.Cleanup(func() { must(b, unix.Close(socket)) })
	index, err := interfaceOf(address)
	must(b, err)
	must(b, unix.SetsockoptInt(socket, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, bufferSize))
	must(b, unix.SetsockoptInt(socket, unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1))
	must(b, unix.Bind(socket, &unix.SockaddrLinklayer{Protocol: bigEndian(unix.ETH_P_ALL), Ifindex: index}))
	return w
}

func bigEndian(n uint16) uint16 {
	return binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, n))
}

func interfaceOf(address string) (index int, err error) {
	all, err := net.Interfaces()
	if err != nil {
		return 0, err
	}
	for _, i := range all {
		addresses, err := i.Addrs()
		if err != nil {
			return 0, err
		}
		for _, a := range addresses {
			if n, ok := a.(*net.IPNet); ok && n.IP.String() == address {
				return i.Index, nil
			}
		}
	}
	return 0, fmt.Errorf("no interface has the address %s", address)
}

// packets returns the packets since the last call.
func (w *capture) packets(b *testing.B) (all []packet) {
	b.Helper()
	head, control := make([]byte, 128), make([]byte, unix.CmsgSpace(int(unsafe.Sizeof(unix.Timespec{}))))
	for {
		n, c, _, _, err := unix.Recvmsg(w.socket, head, control, unix.MSG_DONTWAIT|unix.MSG_TRUNC)
		if errors.Is(err, unix.EAGAIN) {
			return all
		}
		must(b, err)
		if p, ok := parse(head[:min(n, len(head))]); ok {
			p.at, err = timestamp(control[:c])
			must(b, err)
			all = append(all, p)
		}
	}
}

// parse parses the first bytes of an IP packet. ok is false if it is not TCP over IPv4.
func parse(ip []byte) (p packet, ok bool) {
	if len(ip) < 40 || ip[0]>>4 != 4 || ip[9] != unix.IPPROTO_TCP {
		return p, false
	}
	ipHeader := int(ip[0]&15) * 4 // bytes
	tcp := ip[ipHeader:]
	if len(tcp) < 20 {
		return p, false
	}
	const syn, ack = 2, 16
	return packet{
		from: int(binary.BigEndian.Uint16(tcp)), to: int(binary.BigEndian.Uint16(tcp[2:])),
		bytes: int(binary.BigEndian.Uint16(ip[2:])) - ipHeader - int(tcp[12]>>4)*4,
		opens: tcp[13]&(syn|ack) == syn,
	}, true
}

// timestamp returns the time at which the kernel saw a packet, from the packet's control messages.
func timestamp(control []byte) (time.Time, error) {
	messages, err := unix.ParseSocketControlMessage(control)
	if err != nil {
		return time.Time{}, err
	}
	for _, m := range messages {
		if m.Header.Type == unix.SCM_TIMESTAMPNS && len(m.Data) >= 16 {
			seconds, nanos := binary.NativeEndian.Uint64(m.Data), binary.NativeEndian.Uint64(m.Data[8:])
			return time.Unix(int64(seconds), int64(nanos)), nil
		}
	}
	return time.Time{}, errors.New("the kernel does not timestamp packets")
}

// firstPacket returns the time of the first packet that matches.
func firstPacket(b *testing.B, what string, all []packet, match func(packet) bool) time.Time {
	b.Helper()
	for _, p := range all {
		if match(p) {
			return p.at
		}
	}
	b.Fatalf("none of %d packets is %s", len(all), what)
	return time.Time{}
}
