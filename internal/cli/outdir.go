package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// outDir is the folder that a command leaves. Everything is written into a
// hidden folder beside it; commit puts that in its place in one step, so that
// at any moment the place holds either all of the old content or all of the
// new, and discard leaves no trace. While one process has it no other gets it.
type outDir struct {
	given  string   // as the user spelled it
	final  string   // absolute, symbolic links resolved
	temp   string   // beside final; empty once committed or discarded
	made   []string // parent folders made for it, outermost first
	unlock func()   // nil once committed or discarded
	disk   disk
	warn   func(format string, args ...any)
}

// disk is what puts files and folders in their place. A test has before fail.
type disk struct {
	before func(operation, path string) error // nil: nothing
}

func (d disk) may(operation, path string) error {
	if d.before == nil {
		return nil
	}
	return d.before(operation, path)
}

// sync writes a file or folder through to the disk.
func (d disk) sync(path string) error {
	if err := d.may("sync", path); err != nil {
		return err
	}
	return syncPath(path)
}

// syncTree writes a folder's files, and the folder itself, through to the disk.
func (d disk) syncTree(root string) error {
	return filepath.WalkDir(root, func(p string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return d.sync(p)
	})
}

// rename moves a file or folder to a name that is free.
func (d disk) rename(from, to string) error {
	if err := d.may("rename", to); err != nil {
		return err
	}
	return os.Rename(from, to)
}

// exchange swaps two folders.
func (d disk) exchange(a, b string) error {
	if err := d.may("exchange", b); err != nil {
		return err
	}
	return exchange(a, b)
}

// errLocked is that another process has a lock.
var errLocked = errors.New("locked")

// input is a path that the command reads.
type input struct {
	flag, path string
	// replaced allows --out to be this very folder: what is written supersedes
	// what was read.
	replaced bool
}

// newOutDir checks that given is a place where replacing a folder harms
// nothing, and makes the folder to write into. It does so before any work, so
// that a wrong --out costs no training run. What an earlier process left beside
// the folder when it was killed is cleared away.
func newOutDir(given string, warn func(format string, args ...any), reads ...input) (*outDir, error) {
	o := &outDir{given: given, warn: warn}
	fail := func(format string, args ...any) (*outDir, error) {
		return nil, fmt.Errorf("--out %q: %w", given, fmt.Errorf(format, args...))
	}
	if given == "" {
		return fail("no folder named")
	}
	var err error
	if o.final, err = filepath.Abs(given); err != nil {
		return fail("%w", err)
	}
	exists := false
	switch _, err := os.Lstat(o.final); {
	case errors.Is(err, fs.ErrNotExist):
		if o.final, err = resolveParents(o.final); err != nil {
			return fail("%w", plain(err))
		}
	case err != nil:
		return fail("%w", plain(err))
	default:
		if o.final, err = filepath.EvalSymlinks(o.final); err != nil {
			return fail("%w", plain(err))
		}
		info, err := os.Stat(o.final)
		if err != nil {
			return fail("%w", plain(err))
		}
		if !info.IsDir() {
			return fail("is a file, want a folder")
		}
		exists = true
	}

	parent := filepath.Dir(o.final)
	if parent == o.final {
		return fail("is the root of a file system, which is not replaced")
	}
	if exists {
		if cwd, err := os.Getwd(); err == nil && holds(o.final, cwd) {
			return fail("is or holds the current folder, which is not replaced")
		}
		if home, err := os.UserHomeDir(); err == nil && holds(o.final, home) {
			return fail("is or holds the home folder, which is not replaced")
		}
		if _, err := os.Lstat(filepath.Join(o.final, ".git")); err == nil {
			return fail("is a git work tree, which is not replaced")
		}
		if mounted(o.final, parent) {
			return fail("is a mount point, which cannot be replaced: name a folder in it")
		}
	}
	if err := o.check(reads...); err != nil {
		return nil, err
	}

	for p := parent; ; p = filepath.Dir(p) {
		if _, err := os.Stat(p); err == nil || p == filepath.Dir(p) {
			break
		}
		o.made = append([]string{p}, o.made...)
	}
	if err := os.MkdirAll(parent, 0o777); err != nil {
		o.discard()
		return fail("%w", plain(err))
	}
	hidden := filepath.Join(parent, "."+filepath.Base(o.final))
	switch o.unlock, err = lock(hidden + ".lock"); {
	case errors.Is(err, errLocked):
		o.discard()
		return fail("another run is writing it")
	case err != nil:
		o.discard()
		return fail("cannot write beside it: %w", plain(err))
	}
	// Where folders cannot be exchanged in one step, the old one may lie aside.
	aside := hidden + ".tmp" + asideSuffix
	if _, err := os.Lstat(o.final); errors.Is(err, fs.ErrNotExist) {
		if err := os.Rename(aside, o.final); err != nil && !errors.Is(err, fs.ErrNotExist) {
			o.discard()
			return fail("%w", plain(err))
		}
	}
	for _, left := range []string{aside, hidden + ".tmp"} {
		if _, err := os.Lstat(left); err == nil {
			if err := o.clear(left); err != nil {
				o.discard()
				return nil, err
			}
		}
	}
	// Not os.MkdirTemp: the folder shall have the permissions that the umask gives.
	if err := os.Mkdir(hidden+".tmp", 0o777); err != nil {
		o.discard()
		return fail("cannot write beside it: %w", plain(err))
	}
	o.temp = hidden + ".tmp"
	return o, nil
}

// check refuses a place that is or holds what the command reads.
func (o *outDir) check(reads ...input) error {
	for _, r := range reads {
		if r.path == "" {
			continue
		}
		if same(o.final, r.path) {
			if r.replaced {
				continue
			}
			return fmt.Errorf("--out %q: is what --%s reads", o.given, r.flag)
		}
		if holds(o.final, r.path) {
			return fmt.Errorf("--out %q: holds %q, which --%s reads", o.given, r.path, r.flag)
		}
	}
	return nil
}

// dir is the folder to write into.
func (o *outDir) dir() string { return o.temp }

// discard removes what was made, unless it was committed. It may be called at
// any time, and more than once.
func (o *outDir) discard() {
	if o.temp != "" {
		os.RemoveAll(o.temp)
		o.temp = ""
	}
	o.release()
	for _, p := range slices.Backward(o.made) {
		os.Remove(p) // only if nothing else came into it
	}
	o.made = nil
}

// release lets another process have the place.
func (o *outDir) release() {
	if o.unlock != nil {
		o.unlock()
		o.unlock = nil
	}
}

// commit makes the written folder durable and puts it in the place of the old
// one. If that fails, the old folder stays, and the error says where the new
// one lies: a finished training run is not thrown away.
func (o *outDir) commit() error {
	defer o.release()
	fail := func(err error) error {
		o.made = nil
		left := o.temp
		o.temp = ""
		if kept, failed := setAside(left, o.final, "new"); failed == nil {
			left = kept
		}
		return fmt.Errorf("--out %q: cannot put the new folder in place: %w; it is complete in %q", o.given, plain(err), left)
	}
	if err := o.disk.syncTree(o.temp); err != nil {
		return fmt.Errorf("--out %q: %w", o.given, plain(err))
	}
	parent := filepath.Dir(o.final)
	old, err := os.Stat(o.final)
	if errors.Is(err, fs.ErrNotExist) {
		if err := o.disk.rename(o.temp, o.final); err != nil {
			return fail(err)
		}
		o.temp, o.made = "", nil
		return o.disk.sync(parent)
	}
	if err != nil {
		return fail(err)
	}
	if !old.IsDir() {
		return fail(errors.New("a file has that name now"))
	}
	if err := os.Chmod(o.temp, old.Mode().Perm()); err != nil {
		return fail(err)
	}
	if err := o.disk.exchange(o.temp, o.final); err != nil {
		return fail(err)
	}
	// From here the new folder is in place, and temp is the old one.
	was := o.temp
	o.temp, o.made = "", nil
	if err := o.disk.sync(parent); err != nil {
		return err
	}
	return o.clear(was)
}

// clear removes a folder that was replaced, or sets it aside if it holds what
// tenon does not write.
func (o *outDir) clear(was string) error {
	names := foreign(was, o.final)
	if len(names) == 0 && holdsModel(was) && !holdsModel(o.final) {
		names = []string{"model.safetensors"} // a model is not what an adapter takes the place of
	}
	if len(names) > 0 {
		kept, err := setAside(was, o.final, "replaced")
		if err != nil {
			return fmt.Errorf("--out %q: the folder is replaced; its old content is in %q: %w", o.given, was, plain(err))
		}
		o.warn("--out %q held %q, which is nothing of the kind that was written: the old folder is now %q", o.given, names[0], kept)
		return nil
	}
	if err := os.RemoveAll(was); err != nil {
		o.warn("--out %q: the old content could not be removed whole: %w", o.given, err)
	}
	return nil
}

// holdsModel reports whether a folder has a model's weights.
func holdsModel(dir string) bool {
	for _, pattern := range []string{"model*.safetensors", "pytorch_model*", "consolidated*"} {
		if m, err := filepath.Glob(filepath.Join(dir, pattern)); err == nil && len(m) > 0 {
			return true
		}
	}
	return false
}

// outFile returns where a single file that was asked for is to be written: a new file
// or a regular one that is replaced, and nothing that is being read.
func outFile(given string, reads ...input) (string, error) {
	return fileToWrite("out", given, reads...)
}

// fileToWrite is outFile for the file that another flag names.
func fileToWrite(flag, given string, reads ...input) (string, error) {
	path, err := filepath.Abs(given)
	if err != nil {
		return "", err
	}
	if real, err := filepath.EvalSymlinks(path); err == nil {
		path = real
	}
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return path, nil
	}
	if err != nil {
		return "", fmt.Errorf("--%s %q: %w", flag, given, plain(err))
	}
	if !info.Mode().IsRegular() {
		return "", fmt.Errorf("--%s %q: is no regular file", flag, given)
	}
	for _, r := range reads {
		if r.path == "" {
			continue
		}
		dir, err := filepath.EvalSymlinks(r.path)
		if err != nil {
			continue // it is about to be reported
		}
		if info, err := os.Stat(dir); err == nil && !info.IsDir() {
			dir = filepath.Dir(dir) // a file's configuration and tokenizer lie beside it
			if !same(path, r.path) && !slices.ContainsFunc(known, func(pattern string) bool {
				m, err := filepath.Match(pattern, filepath.Base(path))
				return m && err == nil
			}) {
				continue
			}
		}
		if dir, err = filepath.Abs(dir); err == nil && holds(dir, path) {
			return "", fmt.Errorf("--%s %q: is part of what --%s reads", flag, given, r.flag)
		}
	}
	return path, nil
}

// known are the names of what tenon, PEFT and transformers write into an
// output folder. A folder that holds something else is set aside when it is
// replaced, not removed.
var known = []string{
	"adapter_config.json", "adapter_model*.safetensors", "adapter_model*.bin", "adapter_model.safetensors.index.json",
	"config.json", "generation_config.json", "model*.safetensors", "model.safetensors.index.json", "pytorch_model*.bin",
	"tokenizer.json", "tokenizer.model", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json",
	"vocab.json", "merges.txt", "chat_template.jinja", "README.md", "loss.png", "training_args.bin",
	".*.tmp", // a file that was being written
}

// foreign returns the entries of a folder, replaced by final, that are not known.
func foreign(dir, final string) []string {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return []string{dir}
	}
	var out []string
	for _, e := range entries {
		ok := superseded(dir, final, e) || e.Type().IsRegular() && slices.ContainsFunc(known, func(pattern string) bool {
			m, err := path.Match(pattern, e.Name())
			return m && err == nil
		})
		if !ok {
			out = append(out, e.Name())
		}
	}
	return out
}

// setAside gives a folder that is not in its place a visible name beside it.
func setAside(was, final, word string) (string, error) {
	for n := 1; ; n++ {
		kept := fmt.Sprintf("%s.%s-%d", final, word, n)
		if _, err := os.Lstat(kept); errors.Is(err, fs.ErrNotExist) {
			return kept, os.Rename(was, kept)
		} else if err != nil {
			return "", err
		}
	}
}

// asideSuffix is added to the name of a folder that is being replaced.
const asideSuffix = ".old"

// swapByRename exchanges two folders where the system cannot do it in one
// step: for a moment b is missing, and if b cannot be filled the old one comes
// back.
func swapByRename(a, b string) error {
	aside := a + asideSuffix
	if err := os.Rename(b, aside); err != nil {
		return err
	}
	if err := os.Rename(a, b); err != nil {
		return errors.Join(err, os.Rename(aside, b))
	}
	return os.Rename(aside, a)
}

// resolveParents resolves the symbolic links of a path's folders, of which the
// last ones may not exist yet.
func resolveParents(p string) (string, error) {
	parent := filepath.Dir(p)
	if parent == p {
		return p, nil
	}
	real, err := filepath.EvalSymlinks(parent)
	if errors.Is(err, fs.ErrNotExist) {
		if _, err := os.Lstat(parent); err == nil {
			return "", fmt.Errorf("%q is a symbolic link to nothing", parent)
		}
		real, err = resolveParents(parent)
	}
	return filepath.Join(real, filepath.Base(p)), err
}

// holds reports whether p is dir or lies in it; dir is absolute and resolved.
func holds(dir, p string) bool {
	p, err := filepath.Abs(p)
	if err != nil {
		return false
	}
	if real, err := filepath.EvalSymlinks(p); err == nil {
		p = real
	}
	rel, err := filepath.Rel(dir, p)
	return err == nil && rel != ".." && !strings.HasPrefix(rel, ".."+string(filepath.Separator))
}

// same reports whether two paths are one file or folder.
func same(a, b string) bool {
	x, err := os.Stat(a)
	if err != nil {
		return false
	}
	y, err := os.Stat(b)
	return err == nil && os.SameFile(x, y)
}

// plain drops the operation and the path from a file system's error where the
// message names the path already.
func plain(err error) error {
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		return e.Err
	}
	if e, ok := errors.AsType[*os.LinkError](err); ok {
		return e.Err
	}
	return err
}
