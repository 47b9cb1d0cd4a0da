package docker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/distribution/reference"
	"github.com/docker/docker/api/types/image"
	"github.com/docker/docker/api/types/registry"
	"github.com/docker/docker/pkg/jsonmessage"

	msg "runnerd/messages"
)

// Pull makes the image available as policy says. Concurrent calls share one pull, which is cancelled when the last caller gives up.
func (d *Driver) Pull(ctx context.Context, ref string, policy msg.PullPolicy, secret string) (msg.ImageID, error) {
	step := fmt.Sprintf("pull %q", ref)
	if policy != msg.PullAlways {
		id, err := d.localImage(ctx, ref)
		if err == nil || !cerrdefs.IsNotFound(err) && !cerrdefs.IsInvalidArgument(err) {
			return id, wrapError(ctx, step, err)
		}
		if policy == msg.PullNever {
			return "", fmt.Errorf("%s: %w: the image is not on this machine and its pull policy is never; "+
				"load the image, or use the policy %s", step, msg.ErrNoImage, msg.PullIfNotPresent)
		}
	}
	id, err := d.pulling.Do(ctx, ref+" "+secret, func(ctx context.Context) (msg.ImageID, error) {
		if err := d.fetch(ctx, ref, secret); err != nil {
			return "", err
		}
		return d.localImage(ctx, ref)
	})
	return id, wrapError(ctx, step, err)
}

func (d *Driver) localImage(ctx context.Context, ref string) (msg.ImageID, error) {
	i, err := d.engine.ImageInspect(ctx, ref)
	return msg.ImageID(i.ID), err
}

func (d *Driver) fetch(ctx context.Context, ref, secret string) error {
	if _, err := reference.ParseNormalizedNamed(ref); err != nil {
		return fmt.Errorf("%w: invalid image name; check the task type's image and the image mappings: %w", msg.ErrNoImage, err)
	}
	auth, err := d.auth(secret)
	if err != nil {
		return err
	}
	progress, err := d.engine.ImagePull(ctx, ref, image.PullOptions{RegistryAuth: auth})
	if err != nil {
		return pullError(err, secret)
	}
	defer progress.Close()
	if d.progress != nil {
		return jsonmessage.DisplayJSONMessagesToStream(progress, d.progress, nil)
	}
	return readProgress(progress)
}

// pullError wraps msg.ErrNoImage if the registry refuses the image, and returns err if the registry cannot be reached.
func pullError(err error, secret string) error {
	if !cerrdefs.IsNotFound(err) && !cerrdefs.IsUnauthorized(err) && !cerrdefs.IsPermissionDenied(err) && !isDenied(err) {
		return err
	}
	credential := "no pull secret is mapped to it"
	if secret != "" {
		credential = fmt.Sprintf("the pull secret %q was used", secret)
	}
	return fmt.Errorf("%w: not found in its registry, or access denied (%s); check the name and tag, the image "+
		"mappings and the pull secret: %w", msg.ErrNoImage, credential, err)
}

// isDenied checks the error's text, because engines before 23 report a registry's refusal as an internal error.
func isDenied(err error) bool {
	return slices.ContainsFunc([]string{"unauthorized", "no basic auth credentials", "access denied", "manifest unknown"},
		func(words string) bool { return strings.Contains(err.Error(), words) })
}

func (d *Driver) auth(secret string) (string, error) {
	if secret == "" {
		return "", nil
	}
	c, ok := d.credentials[secret]
	if !ok {
		return "", fmt.Errorf("%w: pull secret %q is not configured on this runner; add it to the runner's "+
			"settings, or change the server's pull secret mappings", msg.ErrNoImage, secret)
	}
	return registry.EncodeAuthConfig(registry.AuthConfig{
		Username: c.Username, Password: string(c.Password), ServerAddress: c.Registry,
	})
}

// readProgress reads the engine's progress messages and returns the error that one of them reports.
func readProgress(r io.Reader) error {
	for messages := json.NewDecoder(r); ; {
		var m struct {
			Error string `json:"error"`
		}
		switch err := messages.Decode(&m); {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return fmt.Errorf("read the engine's progress: %w", err)
		case m.Error != "":
			return errors.New(m.Error)
		}
	}
}
