package gateway

import (
	"net/http"
	"strconv"
	"strings"
	"time"

	msg "runnerd/messages"
)

const collection = "/api/v1/namespaces/" + namespace + "/secrets"

// serveSecrets serves the Kubernetes API for the one Secret to which the client's token gives access.
func (g *Gateway) serveSecrets(w http.ResponseWriter, r *http.Request) {
	e := g.authenticate(r)
	if e == nil {
		_ = statusError(http.StatusForbidden, "invalid token").write(w)
		return
	}
	select {
	case e.requests <- struct{}{}:
		defer func() { <-e.requests }()
	default:
		_ = tooManyRequests("too many concurrent requests").write(w)
		return
	}
	e.detectSDK(sdkOf(r.UserAgent()))
	e.serve(w, r)
}

// sdkOf returns the SDK of a plugin from its User-Agent header.
func sdkOf(agent string) msg.SDK {
	switch {
	case strings.HasPrefix(agent, "OpenAPI-Generator/") && strings.HasSuffix(agent, "/python"):
		return msg.PythonSDK
	case strings.Contains(agent, "kubernetes/"):
		return msg.GoSDK
	}
	return msg.OtherSDK
}

func (e *endpoint) serve(w http.ResponseWriter, r *http.Request) {
	own := secretName(e.id)
	query := r.URL.Query()
	switch {
	case r.Method != http.MethodGet:
		_ = statusError(http.StatusForbidden, "only GET, LIST and WATCH are served").write(w)
	case r.URL.Path == collection+"/"+own:
		e.serveGet(w, r)
	case r.URL.Path != collection:
		_ = statusError(http.StatusForbidden, "this token gives access to the Secret "+own+" only").write(w)
	case query.Get("fieldSelector") != "metadata.name="+own:
		_ = statusError(http.StatusForbidden, "the field selector must be metadata.name="+own).write(w)
	default:
		if on, _ := strconv.ParseBool(query.Get("watch")); on {
			e.serveWatch(w, r)
			return
		}
		seen, _ := strconv.ParseUint(query.Get("resourceVersion"), 10, 64)
		list, answered := e.await(r.Context(), func(id msg.RequestID) msg.SessionEvent { return msg.SecretListed{Request: id, Version: seen} })
		if answered {
			_ = list.write(w)
		}
	}
}

// serveGet answers a GET of the Secret, which may wait without limit.
func (e *endpoint) serveGet(w http.ResponseWriter, r *http.Request) {
	e.resolveDeliveries()
	secret, answered := e.await(r.Context(), func(id msg.RequestID) msg.SessionEvent { return msg.SecretRequested{Request: id} })
	if !answered {
		return
	}
	before := connectionOf(r.Context()).written()
	err := secret.write(w)
	if err != nil {
		e.log.Info().Err(err).Msg("connection broke during an answer; the plugin repeats its request or proves that it did not start the job")
	}
	if secret.delivery != nil {
		e.trackDelivery(secret.delivery, err == nil, before+int64(len(secret.body)))
	}
}

// serveWatch sends events until the client disconnects, the requested timeout passes or the endpoint closes.
func (e *endpoint) serveWatch(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	// An informer requests bookmarks and keeps its watch open. The Python SDK does neither.
	bookmarks, _ := strconv.ParseBool(query.Get("allowWatchBookmarks"))
	initial, _ := strconv.ParseBool(query.Get("sendInitialEvents"))
	version, _ := strconv.ParseUint(query.Get("resourceVersion"), 10, 64)
	watch := e.openWatch(msg.WatchOpened{Nested: !bookmarks && !initial, Fresh: initial || version == 0, Bookmark: initial, Version: version})
	if watch == nil {
		_ = e.g.unavailable().write(w)
		return
	}
	defer e.closeWatch(watch)

	w.Header().Set("Content-Type", "application/json")
	control := http.NewResponseController(w)
	if control.Flush() != nil {
		return
	}
	timedOut, stop := watchTimeout(query.Get("timeoutSeconds"))
	defer stop()
	for {
		select {
		case event := <-watch.events:
			_ = control.SetWriteDeadline(time.Now().Add(writeTimeout))
			if _, err := w.Write(event); err != nil || control.Flush() != nil {
				return
			}
			_ = control.SetWriteDeadline(time.Time{})
		case <-watch.ended:
			return
		case <-timedOut:
			return
		case <-r.Context().Done():
			return
		}
	}
}

// watchTimeout returns a channel that fires after the client's timeout, at most an hour. Without a timeout it never fires.
func watchTimeout(seconds string) (<-chan time.Time, func() bool) {
	n, err := strconv.Atoi(seconds)
	if err != nil || n <= 0 {
		return nil, func() bool { return true }
	}
	timer := time.NewTimer(time.Duration(min(n, 3600)) * time.Second)
	return timer.C, timer.Stop
}
