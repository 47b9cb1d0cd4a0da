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
)

// content is the data of the input Secret, before Kubernetes' own encoding. All five keys are always there, and none is
// nil: null is not base64 to every client.
type content map[string][]byte

func (d *door) content(key []byte) content {
	return content{
		contract.KeyInput:       {},
		contract.KeySessionKey:  []byte(base64.StdEncoding.EncodeToString(key)),
		contract.KeyURL:         {},
		contract.KeyFetchURL:    {},
		contract.KeyExecutionID: {},
	}
}

// dummy is what LIST and WATCH show: a key and no job. After a restart it is the same, so that nobody acts on it again.
func (d *door) dummy(arming uint64) content {
	return d.content(d.g.Keys.Derive("dummy", string(d.id), strconv.FormatUint(arming, 10)))
}

// emptied is the job without its input: a plugin that still delivers the result finds its way, and runs nothing.
func (d *door) emptied(j *job) content {
	c := d.content(j.key[:])
	c[contract.KeyURL] = []byte(d.g.url(callbackPath, j.execution))
	c[contract.KeyExecutionID] = []byte(j.execution)
	return c
}

// filled is the job.
func (d *door) filled(j *job, input string) content {
	c := d.emptied(j)
	if len(input) > d.g.InlineInput {
		c[contract.KeyFetchURL] = []byte(d.g.url(inputPath, j.execution))
	} else {
		c[contract.KeyInput] = []byte(input)
	}
	return c
}

func (d *door) object(c content, arming uint64) *corev1.Secret {
	return &corev1.Secret{
		TypeMeta: metav1.TypeMeta{Kind: "Secret", APIVersion: "v1"},
		ObjectMeta: metav1.ObjectMeta{
			Name: secretName(d.id), Namespace: namespace, UID: types.UID(d.id), ResourceVersion: versionText(arming),
		},
		Type: corev1.SecretTypeOpaque,
		Data: c,
	}
}

func (d *door) secret(c content) []byte { return mustJSON(d.object(c, d.arming)) }

func (d *door) list(arming uint64) []byte {
	return mustJSON(&corev1.SecretList{
		TypeMeta: metav1.TypeMeta{Kind: "SecretList", APIVersion: "v1"},
		ListMeta: metav1.ListMeta{ResourceVersion: versionText(arming)},
		Items:    []corev1.Secret{*d.object(d.dummy(arming), arming)},
	})
}

// event is a line of a watch that shows the dummy.
func (d *door) event(kind string) []byte {
	return mustJSON(metav1.WatchEvent{Type: kind, Object: runtime.RawExtension{Raw: d.secret(d.dummy(d.arming))}})
}

// bookmark says that all that there is has been sent.
func (d *door) bookmark() []byte {
	return mustJSON(metav1.WatchEvent{Type: "BOOKMARK", Object: runtime.RawExtension{Raw: mustJSON(&corev1.Secret{
		TypeMeta: metav1.TypeMeta{Kind: "Secret", APIVersion: "v1"},
		ObjectMeta: metav1.ObjectMeta{
			ResourceVersion: versionText(d.arming),
			Annotations:     map[string]string{metav1.InitialEventsAnnotationKey: "true"},
		},
	})}})
}

// mustJSON marshals the API's own types, which always succeeds.
func mustJSON(v any) []byte {
	text, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return append(text, '\n')
}
