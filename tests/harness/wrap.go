package harness

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"

	"github.com/docker/docker/api/types/container"
)

// WrapImage builds an image from a plugin's image. Its process 1 is the program in dir, with the plugin as the argument.
func (h *Harness) WrapImage(ctx context.Context, image, name, dir string) (ref string, err error) {
	program := filepath.Join(h.dir, name)
	if err := goBuild(ctx, ".", []string{"CGO_ENABLED=0"}, "-o", program, dir); err != nil {
		return "", err
	}
	layer, err := archive(name, program)
	if err != nil {
		return "", err
	}
	made, err := h.Engine.ContainerCreate(ctx, &container.Config{Image: image}, nil, nil, nil, "")
	if err != nil {
		return "", err
	}
	defer func() {
		err = errors.Join(err, h.Engine.ContainerRemove(ctx, made.ID, container.RemoveOptions{}))
	}()
	if err := h.Engine.CopyToContainer(ctx, made.ID, "/", layer, container.CopyToContainerOptions{}); err != nil {
		return "", err
	}
	ref = h.reference(name)
	_, err = h.Engine.ContainerCommit(ctx, made.ID, container.CommitOptions{
		Reference: ref, Changes: []string{`ENTRYPOINT ["/` + name + `", "/plugin"]`}})
	return ref, err
}

// archive returns a tar archive with one program.
func archive(name, program string) (*bytes.Buffer, error) {
	text, err := os.ReadFile(program)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	if err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o755, Size: int64(len(text))}); err != nil {
		return nil, err
	}
	if _, err := w.Write(text); err != nil {
		return nil, err
	}
	return &b, w.Close()
}
