package gateway

import (
	"encoding/base64"
	"encoding/json"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"

	"runnerd/infra/contract"
	msg "runnerd/messages"
)

// content is the data of the input Secret, before Kubernetes' own encoding. All five keys are always present and not nil, because not
// every client accepts null as base64.
type content map[string][]byte

func (e *endpoint) emptyContent(key []byte) content {
	return content{
		contract.KeyInput:       {},
		contract.KeySessionKey:  []byte(base64.StdEncoding.EncodeToString(key)),
		contract.KeyURL:         {},
		contract.KeyFetchURL:    {},
		contract.KeyExecutionID: {},
	}
}

// dummyContent is what LIST and WATCH show: a key and no job. It is the same after a restart, so that no plugin reacts to it again.
func (e *endpoint) dummyContent(version uint64) content {
	return e.emptyContent(e.g.Keys.Derive("dummy", string(e.id), strconv.FormatUint(version, 10)))
}

// contentWithoutInput is the job without its input: a plugin can still deliver the result, but cannot run the job.
func (e *endpoint) contentWithoutInput(job msg.ExecutionID) content {
	key := e.g.jobKey(job)
	c := e.emptyContent(key[:])
	c[contract.KeyURL] = []byte(e.g.jobURL(callbackRoute, job))
	c[contract.KeyExecutionID] = []byte(job)
	return c
}

// jobContent is the job with its input, or with a URL for a large input.
func (e *endpoint) jobContent(job msg.ExecutionID, input string) content {
	c := e.contentWithoutInput(job)
	if len(input) > e.g.InlineInput {
		c[contract.KeyFetchURL] = []byte(e.g.jobURL(inputRoute, job))
	} else {
		c[contract.KeyInput] = []byte(input)
	}
	return c
}

// secretObject returns the Secret with this content and version.
func (e *endpoint) secretObject(c content, version uint64) *corev1.Secret {
	return &corev1.Secret{
		TypeMeta: metav1.TypeMeta{Kind: "Secret", APIVersion: "v1"},
		ObjectMeta: metav1.ObjectMeta{
			Name: secretName(e.id), Namespace: namespace, UID: types.UID(e.id), ResourceVersion: resourceVersion(version),
		},
		Type: corev1.SecretTypeOpaque,
		Data: c,
	}
}

// resourceVersion returns a version as clients see it. It is never 0, which means "any" to them.
func resourceVersion(version uint64) string { return strconv.FormatUint(version+1, 10) }

// secretJSON returns the answer to a GET. Plugins ignore its version.
func (e *endpoint) secretJSON(c content) []byte { return mustJSON(e.secretObject(c, 0)) }

func (e *endpoint) listJSON(version uint64) []byte {
	return mustJSON(&corev1.SecretList{
		TypeMeta: metav1.TypeMeta{Kind: "SecretList", APIVersion: "v1"},
		ListMeta: metav1.ListMeta{ResourceVersion: resourceVersion(version)},
		Items:    []corev1.Secret{*e.secretObject(e.dummyContent(version), version)},
	})
}

// eventJSON returns a line of a watch: an event with the dummy, or the bookmark that ends the initial events.
func (e *endpoint) eventJSON(event msg.WatchEvent) []byte {
	object := mustJSON(e.secretObject(e.dummyContent(event.Version), event.Version))
	if event.Kind == msg.WatchBookmark {
		object = mustJSON(&corev1.Secret{
			TypeMeta: metav1.TypeMeta{Kind: "Secret", APIVersion: "v1"},
			ObjectMeta: metav1.ObjectMeta{
				ResourceVersion: resourceVersion(event.Version),
				Annotations:     map[string]string{metav1.InitialEventsAnnotationKey: "true"},
			},
		})
	}
	return mustJSON(metav1.WatchEvent{Type: string(event.Kind), Object: runtime.RawExtension{Raw: object}})
}

// mustJSON marshals types of the Kubernetes API, which never fails.
func mustJSON(v any) []byte {
	text, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return append(text, '\n')
}
