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

	// resultDir is where a container sees the directory for its result.
	resultDir = "/runnerd/out"

	// Below the executor's directory.
	outDir     = "out"
	saDir      = "sa"
	resultFile = "result"
	inputFile  = "input"
)

func secretName(id msg.ExecutorID) string { return "input-" + string(id) }

// token opens one endpoint. It begins with the executor's id, so that the rest can be compared in constant time; it is derived,
// so that none is stored.
func (g *Gateway) token(id msg.ExecutorID) string {
	return string(id) + "." + hex.EncodeToString(g.Keys.Derive("token", string(id)))
}

// authenticate returns the endpoint that the request's token opens, or nil. Python writes "bearer" in lower case.
func (g *Gateway) authenticate(r *http.Request) *endpoint {
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	id, _, _ := strings.Cut(token, ".")
	e := g.find(msg.ExecutorID(id))
	if e == nil || !strings.EqualFold(scheme, "Bearer") {
		return nil
	}
	if subtle.ConstantTimeCompare([]byte(token), []byte(e.token)) != 1 {
		return nil
	}
	return e
}

// access is what an executor must be given to reach its endpoint.
func (g *Gateway) access(rec msg.ExecutorRecord) msg.Access {
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
	env[contract.OutputLocation] = resultDir + "/" + resultFile
	if rec.Mode == msg.Daemon {
		env[contract.ExecutionMode] = contract.ModeDaemon
	}
	return msg.Access{
		Env: env,
		Files: map[string][]byte{
			filepath.Join(saDir, contract.TokenFile):     []byte(g.token(rec.ID)),
			filepath.Join(saDir, contract.CAFile):        g.Keys.CA(),
			filepath.Join(saDir, contract.NamespaceFile): []byte(namespace),
		},
		Mounts: []msg.Mount{
			{Source: outDir, Target: resultDir},
			{Source: saDir, Target: contract.ServiceAccountDir, ReadOnly: true},
		},
	}
}

func port(l net.Listener) int { return l.Addr().(*net.TCPAddr).Port }
