package gateway

import (
	"encoding/base64"
	"encoding/hex"
	"errors"
	"net"
	"strconv"

	"runnerd/infra/seal"
	msg "runnerd/messages"
)

// route is the target of a URL with a secret path.
type route struct {
	endpoint  *endpoint
	kind      routeKind
	execution msg.ExecutionID
	key       seal.Key // zero: unknown
	newest    bool     // the execution is the endpoint's newest
}

type routeKind string

const (
	callbackRoute routeKind = "callback"
	inputRoute    routeKind = "input"
)

// pathSecret returns the secret part of a job's path: 128 bits in hex.
func (g *Gateway) pathSecret(k routeKind, id msg.ExecutionID) string {
	return hex.EncodeToString(g.Keys.Derive(string(k), string(id))[:16])
}

// jobURL returns the callback or input URL of a job, in base64 as the SDKs expect it.
func (g *Gateway) jobURL(k routeKind, id msg.ExecutionID) string {
	host := net.JoinHostPort(g.Host.String(), strconv.Itoa(port(g.Listeners.Callbacks)))
	return base64.StdEncoding.EncodeToString([]byte("http://" + host + "/" + string(k) + "/" + g.pathSecret(k, id)))
}

// OpenURLs replaces the executor's routes by those of these jobs, newest last. A job without a key keeps the key that the gateway has.
func (g *Gateway) OpenURLs(id msg.ExecutorID, jobs ...msg.JobURL) error {
	e := g.findEndpoint(id)
	if e == nil {
		return errNotAdmitted(id)
	}
	routes := map[string]route{}
	for i, job := range jobs {
		key, err := g.openKey(job)
		if err != nil {
			e.log.Error().Err(err).Str("execution", string(job.Execution)).Msg("could not open a job's session key; its result cannot be accepted")
		}
		for _, k := range []routeKind{callbackRoute, inputRoute} {
			routes[g.pathSecret(k, job.Execution)] = route{e, k, job.Execution, key, i == len(jobs)-1}
		}
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.endpoints[id] != e {
		return errNotAdmitted(id)
	}
	g.removeRoutes(e)
	for secret, r := range routes {
		g.routes[secret] = r
	}
	g.watchResultFile(e)
	return nil
}

func (g *Gateway) openKey(job msg.JobURL) (seal.Key, error) {
	switch {
	case len(job.SealedKey) > 0:
		return g.Keys.OpenKey(job.SealedKey)
	case len(job.Key) > 0:
		keys, err := g.Keys.Unseal(job.Key)
		if err == nil && (len(keys) != 1 || len(keys[0]) != len(seal.Key{})) {
			err = errors.New("the job does not have one session key of the right length")
		}
		if err != nil {
			return seal.Key{}, err
		}
		return seal.Key([]byte(keys[0])), nil
	default:
		return g.jobKey(job.Execution), nil
	}
}

// jobKey returns the key of a job whose URL is open, and otherwise the zero key.
func (g *Gateway) jobKey(id msg.ExecutionID) seal.Key {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.routes[g.pathSecret(callbackRoute, id)].key
}

func (g *Gateway) removeRoutes(e *endpoint) {
	for secret, r := range g.routes {
		if r.endpoint == e {
			delete(g.routes, secret)
		}
	}
}

// removeEndpoint removes an endpoint's routes and its file watch. The caller holds mu.
func (g *Gateway) removeEndpoint(e *endpoint) {
	g.removeRoutes(e)
	out := e.resultDir()
	if g.resultDirs[out] == e {
		delete(g.resultDirs, out)
		_ = g.watcher.Remove(out) // the directory may not exist any more
	}
}

func (g *Gateway) findRoute(k routeKind, secret string) (route, bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	r, ok := g.routes[secret]
	return r, ok && r.kind == k
}
