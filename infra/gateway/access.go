package gateway

import (
	"crypto/subtle"
	"encoding/hex"
	"net"
	"net/http"
	"path/filepath"
	"strconv"
	"strings"

	"runnerd/infra/contract"
	msg "runnerd/messages"
)

const (
	namespace = "runnerd"

	// containerResultDir is the path of the result directory in the container.
	containerResultDir = "/runnerd/out"

	// Paths in the executor's directory.
	outDir            = "out"
	serviceAccountDir = "sa"
	resultFile        = "result"
	inputFile         = "input"
)

func secretName(id msg.ExecutorID) string { return "input-" + string(id) }

// token returns the token for one endpoint. It begins with the executor's id, by which authenticate finds the endpoint before it compares
// the token in constant time. It is derived, so that it need not be stored.
func (g *Gateway) token(id msg.ExecutorID) string {
	return string(id) + "." + hex.EncodeToString(g.Keys.Derive("token", string(id)))
}

// authenticate returns the endpoint of the request's token, or nil. The case of the scheme does not matter, because the Python SDK sends
// "bearer".
func (g *Gateway) authenticate(r *http.Request) *endpoint {
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	id, _, _ := strings.Cut(token, ".")
	e := g.findEndpoint(msg.ExecutorID(id))
	if e == nil || !strings.EqualFold(scheme, "Bearer") {
		return nil
	}
	if subtle.ConstantTimeCompare([]byte(token), []byte(e.token)) != 1 {
		return nil
	}
	return e
}

// accessFor returns the environment, files and mounts that an executor needs to reach its endpoint.
func (g *Gateway) accessFor(rec msg.ExecutorRecord) msg.Access {
	env := map[string]string{"PYTHONUNBUFFERED": "1"}
	if g.ReleaseURL != "" {
		env[contract.ReleaseURL] = g.ReleaseURL
	}
	if rec.Mode == msg.Files {
		out := filepath.Join(g.Store.ExecutorDir(rec.ID), outDir)
		env[contract.InputLocation] = filepath.Join(out, inputFile)
		env[contract.OutputLocation] = filepath.Join(out, resultFile)
		return msg.Access{Env: env}
	}
	env[contract.KubernetesHost] = g.Host.String()
	env[contract.KubernetesPort] = strconv.Itoa(port(g.Listeners.Secrets))
	env[contract.InputContextSecret] = secretName(rec.ID)
	env[contract.RunnerNamespace] = namespace
	env[contract.OutputLocation] = containerResultDir + "/" + resultFile
	if rec.Mode == msg.Daemon {
		env[contract.ExecutionMode] = contract.ModeDaemon
	}
	return msg.Access{
		Env: env,
		Files: map[string][]byte{
			filepath.Join(serviceAccountDir, contract.TokenFile):     []byte(g.token(rec.ID)),
			filepath.Join(serviceAccountDir, contract.CAFile):        g.Keys.CA(),
			filepath.Join(serviceAccountDir, contract.NamespaceFile): []byte(namespace),
		},
		Mounts: []msg.Mount{
			{Source: outDir, Target: containerResultDir},
			{Source: serviceAccountDir, Target: contract.ServiceAccountDir, ReadOnly: true},
		},
	}
}

func port(l net.Listener) int { return l.Addr().(*net.TCPAddr).Port }
