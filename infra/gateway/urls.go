package gateway

import (
	"encoding/base64"
	"encoding/hex"
	"net"
	"strconv"

	"runnerd/infra/seal"
	msg "runnerd/messages"
)

// route is what a secret path leads to.
type route struct {
	endpoint  *endpoint
	kind      kind
	execution msg.ExecutionID
	key       seal.Key // zero: not known any more
	newest    bool     // of the endpoint's jobs
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

// OpenURLs makes the callback URLs of these jobs lead to the executor, newest last, and those of no others. A job without a key
// keeps the one that the gateway has.
func (g *Gateway) OpenURLs(id msg.ExecutorID, jobs ...msg.JobURL) error {
	e := g.find(id)
	if e == nil {
		return errNotAdmitted(id)
	}
	routes := map[string]route{}
	for i, job := range jobs {
		key, err := g.keyOf(job)
		if err != nil {
			e.log.Error().Err(err).Str("job", string(job.Execution)).Msg("could not open the session key of a job: no result of it can be taken")
		}
		for _, k := range []kind{callbackPath, inputPath} {
			routes[g.secretPath(k, job.Execution)] = route{e, k, job.Execution, key, i == len(jobs)-1}
		}
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.endpoints[id] != e {
		return errNotAdmitted(id)
	}
	g.forgetURLs(e)
	for secret, r := range routes {
		g.urls[secret] = r
	}
	g.watchFile(e)
	return nil
}

func (g *Gateway) keyOf(job msg.JobURL) (seal.Key, error) {
	switch {
	case len(job.SealedKey) > 0:
		return g.Keys.OpenKey(job.SealedKey)
	case len(job.Key) > 0:
		keys, err := g.Keys.Unseal(job.Key)
		if err != nil || len(keys) != 1 || len(keys[0]) != len(seal.Key{}) {
			return seal.Key{}, err
		}
		return seal.Key([]byte(keys[0])), nil
	default:
		return g.known(job.Execution), nil
	}
}

// known is the key of a job whose URL is open; zero: none is.
func (g *Gateway) known(id msg.ExecutionID) seal.Key {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.urls[g.secretPath(callbackPath, id)].key
}

func (g *Gateway) forgetURLs(e *endpoint) {
	for secret, r := range g.urls {
		if r.endpoint == e {
			delete(g.urls, secret)
		}
	}
}

// forget leaves nothing that leads to an endpoint. mu is held.
func (g *Gateway) forget(e *endpoint) {
	g.forgetURLs(e)
	out := e.out()
	if g.dirs[out] == e {
		delete(g.dirs, out)
		_ = g.files.Remove(out) // it may be gone
	}
}

func (g *Gateway) routeOf(k kind, secret string) (route, bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	r, ok := g.urls[secret]
	return r, ok && r.kind == k
}
