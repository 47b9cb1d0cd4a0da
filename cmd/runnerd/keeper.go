package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/rs/zerolog"

	msg "runnerd/messages"
	"runnerd/spool"
)

// configStore keeps the server's configuration in the spool, and beside it the note of a deletion.
type configStore struct {
	spool *spool.Spool
	note  string
}

func (k configStore) SaveConfig(c msg.Config) error {
	text, err := json.Marshal(c)
	if err != nil {
		return err
	}
	return k.spool.Save(spool.Server, text)
}

// load returns the last configuration: capacity and eviction time are known before the server has answered.
func (k configStore) load(log zerolog.Logger) (c msg.Config) {
	text, ok := k.spool.Load(spool.Server)
	if !ok {
		return c
	}
	if err := json.Unmarshal(text, &c); err != nil {
		log.Warn().Err(err).Msg("the server's last configuration cannot be read: waiting for the next")
	}
	return c
}

// RecordDeletion is durable on return. No crash leaves half of the note.
func (k configStore) RecordDeletion() error {
	text := fmt.Sprintf("the server deleted this runner at %s, and all that it has on this machine is being removed", time.Now().UTC().Format(time.RFC3339))
	temp := k.note + ".new"
	f, err := os.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	return errors.Join(os.Rename(temp, k.note), syncDir(filepath.Dir(k.note)))
}

func syncDir(name string) error {
	dir, err := os.Open(name)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}
