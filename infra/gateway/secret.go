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

// content is the data of the input Secret, before Kubernetes' own encoding. All five keys are always there, and none is
// nil: null is not base64 to every client.
type content map[string][]byte

func (e *endpoint) content(key []byte) content {
	return content{
		contract.KeyInput:       {},
		contract.KeySessionKey:  []byte(base64.StdEncoding.EncodeToString(key)),
		contract.KeyURL:         {},
		contract.KeyFetchURL:    {},
		contract.KeyExecutionID: {},
	}
}

// dummy is what LIST and WATCH show: a key and no job. After a restart it is the same, so that nobody acts on it again.
func (e *endpoint) dummy(version uint64) content {
	return e.content(e.g.Keys.Derive("dummy", string(e.id), strconv.FormatUint(version, 10)))
}

// emptied is the job without its input: a plugin that still delivers the result finds its way, and runs nothing.
func (e *endpoint) emptied(job msg.ExecutionID) content {
	key := e.g.known(job)
	c := e.content(key[:])
	c[contract.KeyURL] = []byte(e.g.url(callbackPath, job))
	c[contract.KeyExecutionID] = []byte(job)
	return c
}

// filled is the job.
func (e *endpoint) filled(job msg.ExecutionID, input string) content {
	c := e.emptied(job)
	if len(input) > e.g.InlineInput {
		c[contract.KeyFetchURL] = []byte(e.g.url(inputPath, job))
	} else {
		c[contract.KeyInput] = []byte(input)
	}
	return c
}

// object is the Secret. Its version is of no interest to who gets a job.
func (e *endpoint) object(c content, version uint64) *corev1.Secret {
	return &corev1.Secret{
		TypeMeta: metav1.TypeMeta{Kind: "Secret", APIVersion: "v1"},
		ObjectMeta: metav1.ObjectMeta{
			Name: secretName(e.id), Namespace: namespace, UID: types.UID(e.id), ResourceVersion: resourceVersion(version),
		},
		Type: corev1.SecretTypeOpaque,
		Data: c,
	}
}

// resourceVersion is what clients see of a version. 0 would mean "any" to them.
func resourceVersion(version uint64) string { return strconv.FormatUint(version+1, 10) }

func (e *endpoint) secret(c content) []byte { return mustJSON(e.object(c, 0)) }

func (e *endpoint) list(version uint64) []byte {
	return mustJSON(&corev1.SecretList{
		TypeMeta: metav1.TypeMeta{Kind: "SecretList", APIVersion: "v1"},
		ListMeta: metav1.ListMeta{ResourceVersion: resourceVersion(version)},
		Items:    []corev1.Secret{*e.object(e.dummy(version), version)},
	})
}

// event is a line of a watch, which shows the dummy, or says that all that there is has been shown.
func (e *endpoint) event(event msg.WatchEvent) []byte {
	object := mustJSON(e.object(e.dummy(event.Version), event.Version))
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

// mustJSON marshals the API's own types, which always succeeds.
func mustJSON(v any) []byte {
	text, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return append(text, '\n')
}
