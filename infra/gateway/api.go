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
	d := g.authenticate(r)
	if d == nil {
		_ = refusal(http.StatusForbidden, "the token opens nothing here").write(w)
		return
	}
	select {
	case d.places <- struct{}{}:
		defer func() { <-d.places }()
	default:
		_ = tooMany("too many requests at once").write(w)
		return
	}
	d.meet(r.UserAgent())
	d.serve(w, r)
}

func (d *door) meet(agent string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.news.meet(sdkOf(agent))
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

func (d *door) serve(w http.ResponseWriter, r *http.Request) {
	own := secretName(d.id)
	query := r.URL.Query()
	switch {
	case r.Method != http.MethodGet:
		_ = refusal(http.StatusForbidden, "only GET, LIST and WATCH are served").write(w)
	case r.URL.Path == collection+"/"+own:
		d.get(w, r)
	case r.URL.Path != collection:
		_ = refusal(http.StatusForbidden, "only the Secret "+own+" is served to this token").write(w)
	case query.Get("fieldSelector") != "metadata.name="+own:
		_ = refusal(http.StatusForbidden, "only metadata.name="+own+" may be selected").write(w)
	default:
		if err := d.look(); err != nil { // the plugin is done with its job when it comes here
			d.log.Warn().Err(err).Msg("cannot look at the result file")
		}
		if on, _ := strconv.ParseBool(query.Get("watch")); on {
			d.serveWatch(w, r)
		} else {
			seen, _ := strconv.ParseUint(query.Get("resourceVersion"), 10, 64)
			_ = answer{status: http.StatusOK, body: d.listed(seen)}.write(w)
		}
	}
}

// listed answers a LIST. An informer whose watch was cut lists anew from the version that it has seen, and a key that it did not
// see, as the runner was killed when it had noted the arming, makes the plugin come like an event. So it is the event, or where
// none must be sent (rule 2) it is not shown: two events for one GET, and the plugin would ask once more after its job, and write
// over its result if nobody is there.
func (d *door) listed(seen uint64) []byte {
	d.mu.Lock()
	defer d.mu.Unlock()
	shown := d.arming
	switch {
	case seen == 0 || seen >= d.version() || d.mode != msg.Daemon:
	case d.hold != nil || d.phase == running || d.retired != "":
		shown = seen - 1
	default:
		d.armed()
	}
	return d.list(shown)
}

// serveWatch sends events until the client goes, the time that it asked for is over, or the door closes.
func (d *door) serveWatch(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	// An informer asks for bookmarks, and watches for its life. Python does neither.
	bookmarks, _ := strconv.ParseBool(query.Get("allowWatchBookmarks"))
	initial, _ := strconv.ParseBool(query.Get("sendInitialEvents"))
	version, _ := strconv.ParseUint(query.Get("resourceVersion"), 10, 64)
	watch := &watch{nested: !bookmarks && !initial, events: make(chan []byte, eventRoom), ended: make(chan struct{})}
	if !d.attend(watch, initial || version == 0, version, initial) {
		_ = d.g.comeAgain("the runner is being restarted").write(w)
		return
	}
	defer d.leave(watch)

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
