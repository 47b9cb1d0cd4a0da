package docker

import (
	"archive/tar"
	"context"
	"fmt"
	"io"
	"os"
	"path"

	"github.com/docker/docker/api/types/image"

	msg "runnerd/messages"
)

// BuildScratch builds an image, tagged ref, that contains only a static program. The program runs as user (uid:gid),
// as in images of the official SDKs. BuildScratch needs no registry and creates nothing but the image.
func (d *Driver) BuildScratch(ctx context.Context, ref, program, user string) (msg.ImageID, error) {
	step := fmt.Sprintf("build image %s from %s", ref, program)
	layer, writer := io.Pipe()
	defer layer.Close()
	go func() { writer.CloseWithError(writeLayer(writer, program)) }()

	changes := []string{`ENTRYPOINT ["/plugin"]`, "USER " + user, "LABEL " + runnerLabel + "=" + d.runner}
	progress, err := d.engine.ImageImport(ctx, image.ImportSource{Source: layer, SourceName: "-"}, ref,
		image.ImportOptions{Changes: changes})
	if err != nil {
		return "", wrapError(ctx, step, err)
	}
	defer progress.Close()
	if err := readProgress(progress); err != nil {
		return "", wrapError(ctx, step, err)
	}
	id, err := d.localImage(ctx, ref)
	return id, wrapError(ctx, step, err)
}

// writeLayer writes a root file system in which the program is /plugin.
func writeLayer(w io.Writer, program string) error {
	f, err := os.Open(path.Clean(program))
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	layer := tar.NewWriter(w)
	if err := layer.WriteHeader(&tar.Header{Name: "plugin", Mode: 0o755, Size: info.Size(), ModTime: info.ModTime()}); err != nil {
		return err
	}
	if _, err := io.Copy(layer, f); err != nil {
		return err
	}
	return layer.Close()
}
