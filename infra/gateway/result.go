package gateway

import (
	"bytes"
	"encoding/base64"
	"encoding/json"

	"runnerd/infra/seal"
	msg "runnerd/messages"
)

// unreadable is the exit code of a result that was encrypted with the job's key, and so is the job's, but is no JSON.
const unreadable = -1

// decode checks that the body belongs to the key, base64 text or raw. Its text does not matter (rule 11): what decrypts is
// the result. Nothing belongs to a key that is not known, which is the zero one.
func decode(key seal.Key, body []byte) (msg.Result, bool) {
	if key == (seal.Key{}) {
		return msg.Result{}, false
	}
	if !isText(body) {
		body = base64.StdEncoding.AppendEncode(nil, body)
	}
	plain, err := seal.Decrypt(key, body)
	if err != nil {
		return msg.Result{}, false
	}
	inside := struct {
		ExitCode int `json:"exitCode"`
	}{}
	if json.Unmarshal(plain, &inside) != nil {
		inside.ExitCode = unreadable
	}
	return msg.Result{Body: body, ExitCode: inside.ExitCode}, true
}

// isText tells base64 text from the raw bytes that some clients send.
func isText(body []byte) bool {
	return len(bytes.Trim(body, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=\r\n\t ")) == 0
}
