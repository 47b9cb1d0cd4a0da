package gateway

import (
	"testing"

	"runnerd/infra/seal"
	msg "runnerd/messages"
)

func TestRestoredJobNeedsOneSessionKey(t *testing.T) {
	identity, err := seal.NewIdentity()
	if err != nil {
		t.Fatal(err)
	}
	g := &Gateway{Options: Options{Keys: identity}}
	key := seal.NewKey()
	for what, row := range map[string]struct {
		secrets []msg.Secret
		ok      bool
	}{
		"one key":   {[]msg.Secret{msg.Secret(key[:])}, true},
		"short key": {[]msg.Secret{"short"}, false},
		"two keys":  {[]msg.Secret{msg.Secret(key[:]), msg.Secret(key[:])}, false},
	} {
		sealed, err := identity.Seal(row.secrets)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := g.openKey(msg.JobURL{Key: sealed}); (err == nil) != row.ok || row.ok && got != key {
			t.Errorf("%s: error %v", what, err)
		}
	}
}
