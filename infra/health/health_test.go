package health_test

import (
	"context"
	"io"
	"net"
	"net/http"
	"testing"

	"go.uber.org/goleak"

	"runnerd/infra/health"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestLiveIsIndependentOfReadiness(t *testing.T) {
	for _, row := range []struct {
		state   string
		stuck   []string
		reasons []string
		path    string
		status  int
		want    string
	}{
		{state: "registered", path: "/live", status: 200, want: "live\n"},
		{state: "registered", path: "/ready", status: 200, want: "ready\n"},
		{state: "without a server", reasons: []string{"no server"}, path: "/live", status: 200, want: "live\n"},
		{state: "without a server and an engine", reasons: []string{"no server", "no engine"}, path: "/ready", status: 503, want: "no server\nno engine\n"},
		{state: "stuck", stuck: []string{"an actor is stuck"}, path: "/live", status: 503, want: "an actor is stuck\n"},
		{state: "registered", path: "/", status: 404, want: "404 page not found\n"},
	} {
		t.Run(row.state+row.path, func(t *testing.T) {
			base, stop := serve(t, func() []string { return row.stuck }, func() []string { return row.reasons })
			status, body := get(t, base+row.path)
			if status != row.status || body != row.want {
				t.Errorf("%d %q; want %d %q", status, body, row.status, row.want)
			}
			if err := stop(); err != nil {
				t.Errorf("stop: %v", err)
			}
		})
	}
}

func TestServeAnswersOpenRequestsBeforeStopping(t *testing.T) {
	called, release := make(chan struct{}), make(chan struct{})
	base, stop := serve(t, nil, func() []string { close(called); <-release; return nil })
	answered := make(chan int)
	go func() {
		status, _ := get(t, base+"/ready")
		answered <- status
	}()
	<-called
	stopped := make(chan error, 1)
	go func() { stopped <- stop() }()
	close(release)
	if status := <-answered; status != 200 {
		t.Errorf("status %d", status)
	}
	if err := <-stopped; err != nil {
		t.Errorf("stop: %v", err)
	}
}

func serve(t *testing.T, notLive, notReady func() []string) (base string, stop func() error) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- health.Serve(ctx, l, health.Handler(notLive, notReady)) }()
	return "http://" + l.Addr().String(), func() error { cancel(); return <-ended }
}

func get(t *testing.T, url string) (int, string) {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	answer, err := client.Get(url)
	if err != nil {
		t.Error(err)
		return 0, ""
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Error(err)
	}
	return answer.StatusCode, string(body)
}
