package docker

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestCreateNetworkIgnoresCancelledCaller(t *testing.T) {
	engine := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/networks/create") {
			w.WriteHeader(http.StatusCreated)
			_, _ = w.Write([]byte("{}"))
		}
	}))
	defer engine.Close()
	t.Setenv("DOCKER_HOST", "tcp://"+engine.Listener.Addr().String())
	d, err := New(Options{RunnerID: "12345678-0000"})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = d.Close() }()
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	if err := d.createNetwork(cancelled); err != nil {
		t.Error(err)
	}
}
