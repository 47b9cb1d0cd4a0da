package gateway

import (
	"net/http"
	"strconv"
	"strings"
	"time"

	msg "runnerd/messages"
)

const collection = "/api/v1/namespaces/" + namespace + "/secrets"

// serveSecrets answers as the Kubernetes API, for the one Secret that the caller's token opens.
func (g *Gateway) serveSecrets(w http.ResponseWriter, r *http.Request) {
	e := g.authenticate(r)
	if e == nil {
		_ = refusal(http.StatusForbidden, "the token opens nothing here").write(w)
		return
	}
	select {
	case e.requests <- struct{}{}:
		defer func() { <-e.requests }()
	default:
		_ = tooMany("too many requests at once").write(w)
		return
	}
	e.detectSDK(sdkOf(r.UserAgent()))
	e.serve(w, r)
}

// sdkOf tells by its client's name which SDK a plugin is built with.
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
		_ = refusal(http.StatusForbidden, "only GET, LIST and WATCH are served").write(w)
	case r.URL.Path == collection+"/"+own:
		e.get(w, r)
	case r.URL.Path != collection:
		_ = refusal(http.StatusForbidden, "only the Secret "+own+" is served to this token").write(w)
	case query.Get("fieldSelector") != "metadata.name="+own:
		_ = refusal(http.StatusForbidden, "only metadata.name="+own+" may be selected").write(w)
	default:
		if on, _ := strconv.ParseBool(query.Get("watch")); on {
			e.serveWatch(w, r)
			return
		}
		seen, _ := strconv.ParseUint(query.Get("resourceVersion"), 10, 64)
		a, there := e.await(r.Context(), func(id msg.RequestID) msg.SessionEvent { return msg.SecretListed{Request: id, Version: seen} })
		if there {
			_ = a.write(w)
		}
	}
}

// get answers a GET of the Secret. It may take for ever.
func (e *endpoint) get(w http.ResponseWriter, r *http.Request) {
	e.settleDeliveries()
	a, there := e.await(r.Context(), func(id msg.RequestID) msg.SessionEvent { return msg.SecretRequested{Request: id} })
	if !there {
		return
	}
	before := connectionOf(r.Context()).written()
	err := a.write(w)
	if err != nil {
		e.log.Info().Err(err).Msg("answer was cut: the plugin repeats its request, or proves that it did not start")
	}
	if a.delivery != nil {
		e.wroteJob(a.delivery, err == nil, before+int64(len(a.body)))
	}
}

// serveWatch sends events until the client goes, the time that it asked for is over, or the endpoint closes.
func (e *endpoint) serveWatch(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	// An informer asks for bookmarks, and watches for its life. Python does neither.
	bookmarks, _ := strconv.ParseBool(query.Get("allowWatchBookmarks"))
	initial, _ := strconv.ParseBool(query.Get("sendInitialEvents"))
	version, _ := strconv.ParseUint(query.Get("resourceVersion"), 10, 64)
	watch := e.openWatch(msg.WatchOpened{Nested: !bookmarks && !initial, Fresh: initial || version == 0, Bookmark: initial, Version: version})
	if watch == nil {
		_ = e.g.comeAgain("the runner is being restarted").write(w)
		return
	}
	defer e.closeWatch(watch)

	w.Header().Set("Content-Type", "application/json")
	control := http.NewResponseController(w)
	if control.Flush() != nil {
		return
	}
	over, stop := timeout(query.Get("timeoutSeconds"))
	defer stop()
	for {
		select {
		case event := <-watch.events:
			_ = control.SetWriteDeadline(time.Now().Add(writeTime))
			if _, err := w.Write(event); err != nil || control.Flush() != nil {
				return
			}
			_ = control.SetWriteDeadline(time.Time{})
		case <-watch.ended:
			return
		case <-over:
			return
		case <-r.Context().Done():
			return
		}
	}
}

// timeout is for ever where the client names none.
func timeout(seconds string) (<-chan time.Time, func() bool) {
	n, err := strconv.Atoi(seconds)
	if err != nil || n <= 0 {
		return nil, func() bool { return true }
	}
	timer := time.NewTimer(time.Duration(min(n, 3600)) * time.Second)
	return timer.C, timer.Stop
}
