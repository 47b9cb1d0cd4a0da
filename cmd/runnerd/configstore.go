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

// configStore stores the server's configuration in the spool, and the tombstone of a deleted runner beside the spool.
type configStore struct {
	spool     *spool.Spool
	tombstone string
}

func (k configStore) SaveConfig(c msg.Config) error {
	text, err := json.Marshal(c)
	if err != nil {
		return err
	}
	return k.spool.Save(spool.Server, text)
}

// load returns the last configuration, so that capacity and eviction time are known before the server answers.
func (k configStore) load(log zerolog.Logger) (c msg.Config) {
	text, ok := k.spool.Load(spool.Server)
	if !ok {
		return c
	}
	if err := json.Unmarshal(text, &c); err != nil {
		log.Warn().Err(err).Msg("could not read the server's last configuration; waiting for the next one")
	}
	return c
}

// RecordDeletion writes the tombstone. The write is atomic, and durable on return.
func (k configStore) RecordDeletion() error {
	text := fmt.Sprintf("the server deleted this runner at %s", time.Now().UTC().Format(time.RFC3339))
	temp := k.tombstone + ".new"
	f, err := os.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	return errors.Join(os.Rename(temp, k.tombstone), syncDir(filepath.Dir(k.tombstone)))
}

func syncDir(name string) error {
	dir, err := os.Open(name)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}
