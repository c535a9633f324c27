package sandbox

import (
	"archive/tar"
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestNothingIsWrittenOutside(t *testing.T) {
	for name, entry := range map[string]tar.Header{
		"parent":          {Name: "data/../../evil", Typeflag: tar.TypeReg, Size: 4},
		"absolute":        {Name: "/evil", Typeflag: tar.TypeReg, Size: 4},
		"sibling":         {Name: "evil", Typeflag: tar.TypeReg, Size: 4},
		"prefix":          {Name: "database", Typeflag: tar.TypeReg, Size: 4},
		"directory":       {Name: "../evil/", Typeflag: tar.TypeDir},
		"through a link":  {Name: "data/out/evil", Typeflag: tar.TypeReg, Size: 4},
		"a link and more": {Name: "data/link", Typeflag: tar.TypeSymlink, Linkname: ".."},
	} {
		t.Run(name, func(t *testing.T) {
			home := t.TempDir()
			local := filepath.Join(home, "local")
			if err := os.Mkdir(local, 0o755); err != nil {
				t.Fatal(err)
			}
			outside := t.TempDir()
			if err := os.Symlink(outside, filepath.Join(local, "out")); err != nil {
				t.Fatal(err)
			}
			var packed bytes.Buffer
			archive := tar.NewWriter(&packed)
			entries := []tar.Header{{Name: "data/", Typeflag: tar.TypeDir, Mode: 0o755}, entry}
			if entry.Typeflag == tar.TypeSymlink {
				entries = append(entries, tar.Header{Name: "data/link/evil", Typeflag: tar.TypeReg, Size: 4})
			}
			for _, header := range entries {
				if err := archive.WriteHeader(&header); err != nil {
					t.Fatal(err)
				}
				if _, err := archive.Write([]byte("evil")[:header.Size]); err != nil {
					t.Fatal(err)
				}
			}
			if err := archive.Close(); err != nil {
				t.Fatal(err)
			}
			err := unpack(&packed, "data", local, CopyOptions{})
			if err == nil {
				t.Error("it was taken")
			}
			for _, directory := range []string{home, outside} {
				all, err := os.ReadDir(directory)
				if err != nil {
					t.Fatal(err)
				}
				for _, one := range all {
					if strings.Contains(one.Name(), "evil") || one.Name() == "database" {
						t.Errorf("%s was written in %s", one.Name(), directory)
					}
				}
			}
		})
	}
}

func TestAnArchiveThatBreaksOffIsAnError(t *testing.T) {
	var packed bytes.Buffer
	source := filepath.Join(t.TempDir(), "a")
	if err := os.WriteFile(source, bytes.Repeat([]byte("x"), 10_000), 0o640); err != nil {
		t.Fatal(err)
	}
	if err := pack(&packed, source, "b", CopyOptions{}); err != nil {
		t.Fatal(err)
	}
	whole := packed.Bytes()
	target := filepath.Join(t.TempDir(), "c")
	if err := unpack(bytes.NewReader(whole), "b", target, CopyOptions{}); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(target); err != nil || info.Size() != 10_000 || info.Mode().Perm() != 0o640 {
		t.Errorf("%v %v", info, err)
	}
	for _, length := range []int{0, 100, 600, 5000} {
		if err := unpack(bytes.NewReader(whole[:length]), "b", target, CopyOptions{}); err == nil {
			t.Errorf("%d bytes of %d were taken for all", length, len(whole))
		}
	}
}
