package cli

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/tenon-ml/tenon/internal/mapped"
)

// sumsFile is a checkpoint's file of checksums, as sha256sum writes and checks it.
const sumsFile = "SHA256SUMS"

// maxSums bounds the bytes of such a file.
const maxSums = 1 << 20

// writeSums writes the checksums of a folder's files.
func writeSums(dir string) error {
	files, err := plainFiles(dir)
	if err != nil {
		return err
	}
	var b bytes.Buffer
	for _, name := range files {
		sum, err := fileSum(filepath.Join(dir, name))
		if err != nil {
			return err
		}
		fmt.Fprintf(&b, "%s  %s\n", sum, name)
	}
	return os.WriteFile(filepath.Join(dir, sumsFile), b.Bytes(), 0o666)
}

// checkSums reports the first file of a folder that is not what writeSums saw: one
// whose bits have changed, that is missing, or that came later.
func checkSums(dir string) error {
	path := filepath.Join(dir, sumsFile)
	b, err := mapped.ReadFile(path, maxSums)
	if err != nil {
		return err
	}
	want := map[string]string{}
	for s := bufio.NewScanner(bytes.NewReader(b)); s.Scan(); {
		sum, name, ok := strings.Cut(s.Text(), "  ")
		if !ok || len(sum) != hex.EncodedLen(sha256.Size) || name != filepath.Base(name) {
			return fmt.Errorf("%s: line %q, want a SHA-256, two spaces and the name of a file", path, s.Text())
		}
		want[name] = sum
	}
	files, err := plainFiles(dir)
	if err != nil {
		return err
	}
	for _, name := range files {
		file := filepath.Join(dir, name)
		sum, err := fileSum(file)
		switch {
		case err != nil:
			return err
		case want[name] == "":
			return fmt.Errorf("%s: is not in %s", file, sumsFile)
		case sum != want[name]:
			return fmt.Errorf("%s: is not what was saved: its SHA-256 is not that in %s", file, sumsFile)
		}
		delete(want, name)
	}
	for name := range want {
		return fmt.Errorf("%s: is missing, and %s has it", filepath.Join(dir, name), sumsFile)
	}
	return nil
}

// plainFiles returns the names of a folder's files, sorted, without that of checksums.
func plainFiles(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	var out []string
	for _, e := range entries {
		if e.Type().IsRegular() && e.Name() != sumsFile {
			out = append(out, e.Name())
		}
	}
	return out, err
}

// fileSum returns the SHA-256 of a file's content.
func fileSum(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", fmt.Errorf("%s: %w", path, err)
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}
