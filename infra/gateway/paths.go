package gateway

import (
	"encoding/base64"
	"encoding/hex"
	"net"
	"strconv"

	msg "runnerd/messages"
)

// place is what a secret path leads to.
type place struct {
	door *door
	job  *job
	kind kind
}

type kind string

const (
	callbackPath kind = "callback"
	inputPath    kind = "input"
)

// secretPath returns what stands in the path that belongs to a job: 128 bits that nobody can guess.
func (g *Gateway) secretPath(k kind, id msg.ExecutionID) string {
	return hex.EncodeToString(g.Keys.Derive(string(k), string(id))[:16])
}

// url is where plugins find what belongs to a job, base64 as the SDKs read it.
func (g *Gateway) url(k kind, id msg.ExecutionID) string {
	host := net.JoinHostPort(g.Host.String(), strconv.Itoa(port(g.Listeners.Callbacks)))
	return base64.StdEncoding.EncodeToString([]byte("http://" + host + "/" + string(k) + "/" + g.secretPath(k, id)))
}

// lead makes the paths of a job lead to the door.
func (g *Gateway) lead(d *door, j *job) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, k := range []kind{callbackPath, inputPath} {
		g.paths[g.secretPath(k, j.execution)] = place{door: d, job: j, kind: k}
	}
}

func (g *Gateway) forget(j *job) {
	if j == nil {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, k := range []kind{callbackPath, inputPath} {
		delete(g.paths, g.secretPath(k, j.execution))
	}
}
