package sandbox

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"k8s.io/client-go/util/exec"
)

// ErrNoTar says that the container has no tar, without which files can't be copied.
var ErrNoTar = errors.New("sandbox: the container has no tar")

var errNothing = errors.New("sandbox: tar sent nothing")

// CopyOptions is how files are copied.
type CopyOptions struct {
	// Container is chosen as for Exec if it is empty.
	Container string
	// Progress is told, from time to time, how many bytes of files have passed.
	Progress func(bytes int64)
	// Skipped is told of what is not copied, and why: links, devices.
	Skipped func(path, reason string)
}

func (o CopyOptions) skipped(path, reason string) {
	if o.Skipped != nil {
		o.Skipped(path, reason)
	}
}

// Upload copies a local file or directory into a Sandbox. A remote that is a directory there gets it inside, under its
// own name; else remote is its new name, in a directory that exists.
func (c *Client) Upload(ctx context.Context, target Target, local, remote string, options CopyOptions) error {
	if _, err := os.Lstat(local); err != nil {
		return err
	}
	// Where it is put is asked for beforehand: a tar that ends without reading what is sent sometimes takes its stream with it,
	// in the runtime, and nothing is heard of it. Whoever has no test finds out from tar.
	err := c.isDirectory(ctx, target, remote, options.Container)
	if err == nil || strings.HasSuffix(remote, "/") {
		absolute, err := filepath.Abs(local)
		if err != nil {
			return err
		}
		remote = path.Join(remote, filepath.Base(absolute))
	} else {
		err = c.isDirectory(ctx, target, path.Dir(remote), options.Container)
	}
	var code exec.CodeExitError
	if errors.As(err, &code) && code.Code == 1 {
		return fmt.Errorf("sandbox: %s is no directory there", path.Dir(remote))
	}
	reader, writer := io.Pipe()
	packed := make(chan error, 1)
	go func() {
		err := pack(writer, local, path.Base(remote), options)
		_ = writer.CloseWithError(err)
		packed <- err
	}()
	command := []string{"tar", "-xmf", "-", "-C", path.Dir(remote)}
	err = c.tar(ctx, target, command, ExecOptions{Stdin: reader, Stdout: io.Discard}, options.Container)
	// Whoever packs must not wait for a tar that is gone.
	_ = reader.Close()
	if packing := <-packed; packing != nil && !errors.Is(packing, io.ErrClosedPipe) {
		return packing
	}
	return err
}

// isDirectory is nil if remote is one; with exit code 1 it is none.
func (c *Client) isDirectory(ctx context.Context, target Target, remote, container string) error {
	return c.Exec(ctx, target, []string{"test", "-d", remote}, ExecOptions{Stdout: io.Discard, Stderr: io.Discard, Container: container})
}

// Download copies a file or directory out of a Sandbox. A local that is a directory gets it inside, under its own name;
// else local is its new name. Nothing is written outside of it, whatever the Sandbox sends: links are not followed and not made.
func (c *Client) Download(ctx context.Context, target Target, remote, local string, options CopyOptions) error {
	remote = path.Clean(remote)
	base := path.Base(remote)
	if base == "/" || base == "." || base == ".." {
		return fmt.Errorf("sandbox: %q has no name to copy it by", remote)
	}
	if info, err := os.Stat(local); (err == nil && info.IsDir()) || strings.HasSuffix(local, string(filepath.Separator)) {
		local = filepath.Join(local, base)
	}
	reader, writer := io.Pipe()
	unpacked := make(chan error, 1)
	go func() {
		err := unpack(reader, base, local, options)
		_ = reader.CloseWithError(err)
		unpacked <- err
	}()
	command := []string{"tar", "-cf", "-", "-C", path.Dir(remote), base}
	err := c.tar(ctx, target, command, ExecOptions{Stdout: writer}, options.Container)
	_ = writer.CloseWithError(err)
	unpacking := <-unpacked
	isOfTar := errors.Is(unpacking, errNothing) || errors.Is(unpacking, io.ErrUnexpectedEOF) || errors.Is(unpacking, err)
	if unpacking == nil || err != nil && isOfTar {
		return err
	}
	return unpacking
}

// tar runs it, and tells what it said if it failed.
func (c *Client) tar(ctx context.Context, target Target, command []string, streams ExecOptions, container string) error {
	var said bytes.Buffer
	streams.Stderr, streams.Container = &said, container
	err := c.Exec(ctx, target, command, streams)
	var code exec.CodeExitError
	switch {
	case err == nil:
		return nil
	case isMissing(err, said.String()):
		return ErrNoTar
	case errors.As(err, &code) && said.Len() > 0:
		return fmt.Errorf("sandbox: %s (exit code %d)", strings.TrimSpace(said.String()), code.Code)
	}
	return err
}

// isMissing in the words of the container runtimes, which know no code for it.
func isMissing(err error, said string) bool {
	for _, text := range []string{err.Error(), said} {
		for _, words := range []string{"executable file not found", "no such file or directory: unknown", "error finding executable"} {
			if strings.Contains(text, words) {
				return true
			}
		}
	}
	return false
}

// pack writes what local is as name.
func pack(to io.Writer, local, name string, options CopyOptions) error {
	archive := tar.NewWriter(to)
	var passed int64
	err := filepath.WalkDir(local, func(at string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		relative, err := filepath.Rel(local, at)
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		if !info.Mode().IsRegular() && !info.IsDir() {
			options.skipped(at, "neither a file nor a directory")
			return nil
		}
		header, err := tar.FileInfoHeader(info, "")
		if err != nil {
			return err
		}
		header.Name = path.Join(name, filepath.ToSlash(relative))
		// Who owns it here means nothing there.
		header.Uid, header.Gid, header.Uname, header.Gname = 0, 0, "", ""
		if info.IsDir() {
			header.Name += "/"
			return archive.WriteHeader(header)
		}
		if err := archive.WriteHeader(header); err != nil {
			return err
		}
		file, err := os.Open(at)
		if err != nil {
			return err
		}
		defer file.Close()
		_, err = io.Copy(archive, counted{file, &passed, options.Progress})
		return err
	})
	if err != nil {
		return err
	}
	return archive.Close()
}

// unpack writes what the archive has as base, and nothing else, to local.
func unpack(from io.Reader, base, local string, options CopyOptions) error {
	absolute, err := filepath.Abs(local)
	if err != nil {
		return err
	}
	// Names can't lead out of it, nor can links that were there before.
	root, err := os.OpenRoot(filepath.Dir(absolute))
	if err != nil {
		return err
	}
	defer root.Close()
	name := filepath.Base(absolute)
	archive := tar.NewReader(from)
	var passed int64
	for count := 0; ; count++ {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			if count == 0 {
				return errNothing
			}
			// What follows the end of an archive is padding.
			_, err = io.Copy(io.Discard, from)
			return err
		}
		if err != nil {
			return err
		}
		inside, err := below(header.Name, base)
		if err != nil {
			return err
		}
		at := filepath.Join(name, filepath.FromSlash(inside))
		mode := header.FileInfo().Mode().Perm()
		switch header.Typeflag {
		case tar.TypeDir:
			if err := root.MkdirAll(at, mode|0o700); err != nil {
				return err
			}
		case tar.TypeReg:
			file, err := root.OpenFile(at, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, mode)
			if err != nil {
				return err
			}
			_, err = io.Copy(file, counted{archive, &passed, options.Progress})
			if err := errors.Join(err, file.Close()); err != nil {
				return err
			}
		default:
			options.skipped(header.Name, "neither a file nor a directory")
		}
	}
}

// below is the path of an entry inside of base.
func below(name, base string) (string, error) {
	clean := path.Clean(name)
	if clean == base {
		return ".", nil
	}
	inside, found := strings.CutPrefix(clean, base+"/")
	if !found || !filepath.IsLocal(filepath.FromSlash(inside)) {
		return "", fmt.Errorf("sandbox: the archive has an entry outside of %q: %q", base, name)
	}
	return inside, nil
}

// counted tells what has been read.
type counted struct {
	io.Reader
	passed   *int64
	progress func(int64)
}

func (c counted) Read(buffer []byte) (int, error) {
	count, err := c.Reader.Read(buffer)
	*c.passed += int64(count)
	if c.progress != nil && count > 0 {
		c.progress(*c.passed)
	}
	return count, err
}
