package docker_test

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/docker/docker/api/types/image"

	"runnerd/infra/docker"
	msg "runnerd/messages"
)

func TestUnavailableImageErrorSaysWhy(t *testing.T) {
	t.Parallel()
	e := engine(t)
	r := newRegistry(t)
	for _, c := range []struct {
		name, ref, secret string
		policy            msg.PullPolicy
		wants             []string
	}{
		{"no such tag", r.host + "/plugin:missing", "right", msg.PullIfNotPresent, []string{"plugin:missing", "check the name"}},
		{"private", r.host + "/private:1", "", msg.PullIfNotPresent, []string{"private:1", "no pull secret"}},
		{"private, wrong secret", r.host + "/private:1", "wrong", msg.PullIfNotPresent, []string{`pull secret "wrong" was used`}},
		{"unknown secret", r.host + "/private:1", "other", msg.PullIfNotPresent, []string{`"other"`, "settings"}},
		{"invalid name", "Not A Name", "", msg.PullIfNotPresent, []string{"Not A Name", "image mappings"}},
		{"never pulled", r.host + "/plugin:1", "", msg.PullNever, []string{"not on this machine", "if-not-present"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := r.driver(t, e).Pull(t.Context(), c.ref, c.policy, c.secret)
			if !errors.Is(err, msg.ErrNoImage) {
				t.Fatalf("pull returns %v", err)
			}
			for _, words := range c.wants {
				if !strings.Contains(err.Error(), words) {
					t.Errorf("the error lacks %q: %v", words, err)
				}
			}
		})
	}
}

func TestUnreachableRegistryIsNotErrNoImage(t *testing.T) {
	t.Parallel()
	e := engine(t)
	r := newRegistry(t)
	r.server.Close()
	if _, err := r.driver(t, e).Pull(t.Context(), r.host+"/plugin:1", "", ""); err == nil || errors.Is(err, msg.ErrNoImage) {
		t.Errorf("pull returns %v", err)
	}
}

func TestPrivateImageIsPulledWithSecretAndCached(t *testing.T) {
	t.Parallel()
	e := engine(t)
	r := newRegistry(t)
	d := r.driver(t, e)
	ref := r.host + "/private:1"
	id, err := d.Pull(t.Context(), ref, msg.PullIfNotPresent, "right")
	check(t, err)
	r.removeAtEnd(t, e, ref)
	if again, err := d.Pull(t.Context(), ref, msg.PullNever, ""); err != nil || again != id {
		t.Errorf("first %q, then %q, %v", id, again, err)
	}
}

func TestConcurrentPullsShareOnePullUntilLastCaller(t *testing.T) {
	t.Parallel()
	e := engine(t)
	r := newRegistry(t)
	d := r.driver(t, e)
	ref := r.host + "/slow:1"
	first, giveUp := context.WithCancelCause(t.Context())
	errGaveUp := errors.New("too slow")
	errs := make(chan error)
	pull := func(ctx context.Context) {
		_, err := d.Pull(ctx, ref, msg.PullAlways, "right")
		errs <- err
	}
	go pull(first)
	select {
	case <-r.asked: // the engine waits for the manifest
	case err := <-errs:
		t.Fatal(err)
	}
	go pull(t.Context())
	giveUp(errGaveUp)
	if err := <-errs; !errors.Is(err, errGaveUp) {
		t.Errorf("the cancelled pull returns %v", err)
	}
	close(r.release)
	check(t, <-errs)
	r.removeAtEnd(t, e, ref)
}

// registry serves one image under several names. private:1 needs the right password; slow:1 is served once it is released.
type registry struct {
	server         *httptest.Server
	host           string
	blobs          map[string][]byte
	manifest       []byte
	asked, release chan struct{}
	ask            sync.Once
}

func newRegistry(t *testing.T) *registry {
	t.Helper()
	var layer bytes.Buffer
	files := tar.NewWriter(&layer)
	check(t, files.WriteHeader(&tar.Header{Name: "plugin", Mode: 0o755}))
	check(t, files.Close())
	r := &registry{blobs: map[string][]byte{}, asked: make(chan struct{}), release: make(chan struct{})}
	config := r.add("application/vnd.docker.container.image.v1+json", asJSON(t, map[string]any{
		"architecture": runtime.GOARCH, "os": "linux", "config": map[string]any{"Entrypoint": []string{"/plugin"}},
		"rootfs": map[string]any{"type": "layers", "diff_ids": []string{digest(layer.Bytes())}},
	}))
	r.manifest = asJSON(t, map[string]any{
		"schemaVersion": 2, "mediaType": manifestType, "config": config,
		"layers": []any{r.add("application/vnd.docker.image.rootfs.diff.tar", layer.Bytes())},
	})
	r.server = httptest.NewServer(r.routes())
	t.Cleanup(r.server.Close)
	r.host = strings.TrimPrefix(r.server.URL, "http://")
	return r
}

const manifestType = "application/vnd.docker.distribution.manifest.v2+json"

func (r *registry) routes() http.Handler {
	routes := http.NewServeMux()
	routes.HandleFunc("GET /v2/", func(w http.ResponseWriter, q *http.Request) {})
	routes.HandleFunc("GET /v2/{name}/manifests/{tag}", func(w http.ResponseWriter, q *http.Request) {
		_, password, _ := q.BasicAuth()
		switch {
		case q.PathValue("tag") == "missing":
			http.Error(w, `{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}`, http.StatusNotFound)
			return
		case q.PathValue("name") == "private" && password != "mellon":
			http.Error(w, `{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}`, http.StatusUnauthorized)
			return
		case q.PathValue("name") == "slow":
			r.ask.Do(func() { close(r.asked) })
			<-r.release
		}
		w.Header().Set("Content-Type", manifestType)
		w.Header().Set("Docker-Content-Digest", digest(r.manifest))
		w.Write(r.manifest)
	})
	routes.HandleFunc("GET /v2/{name}/blobs/{digest}", func(w http.ResponseWriter, q *http.Request) {
		w.Write(r.blobs[q.PathValue("digest")])
	})
	return challenge(routes)
}

// challenge asks for credentials, because the engine sends none unasked. It accepts any.
func challenge(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		w.Header().Set("Docker-Distribution-Api-Version", "registry/2.0")
		if _, _, ok := q.BasicAuth(); !ok && q.URL.Path == "/v2/" {
			w.Header().Set("WWW-Authenticate", `Basic realm="tests"`)
			http.Error(w, `{"errors":[{"code":"UNAUTHORIZED"}]}`, http.StatusUnauthorized)
			return
		}
		next.ServeHTTP(w, q)
	})
}

func (r *registry) add(kind string, blob []byte) map[string]any {
	r.blobs[digest(blob)] = blob
	return map[string]any{"mediaType": kind, "size": len(blob), "digest": digest(blob)}
}

func (r *registry) driver(t *testing.T, e *env) *docker.Driver {
	t.Helper()
	d, err := docker.New(docker.Options{RunnerID: e.runner, Credentials: map[string]docker.Credential{
		"right": {Username: "gandalf", Password: "mellon"},
		"wrong": {Username: "gandalf", Password: "friend"},
	}})
	check(t, err)
	t.Cleanup(func() { check(t, d.Close()) })
	return d
}

// removeAtEnd removes the pulled image when the test ends.
func (r *registry) removeAtEnd(t *testing.T, e *env, ref string) {
	t.Cleanup(func() {
		_, err := e.engine.ImageRemove(context.WithoutCancel(t.Context()), ref, image.RemoveOptions{PruneChildren: true})
		check(t, err)
	})
}

func digest(b []byte) string { return fmt.Sprintf("sha256:%x", sha256.Sum256(b)) }

func asJSON(t *testing.T, v any) []byte {
	t.Helper()
	b, err := json.Marshal(v)
	check(t, err)
	return b
}
