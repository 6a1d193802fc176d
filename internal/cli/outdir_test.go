package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// tree returns the files and folders under dir with their contents.
func tree(t *testing.T, dir string) map[string]string {
	t.Helper()
	out := map[string]string{}
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil || p == dir {
			return err
		}
		rel, _ := filepath.Rel(dir, p)
		if d.IsDir() {
			out[rel+"/"] = ""
			return nil
		}
		b, err := os.ReadFile(p)
		out[rel] = string(b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// plant writes files, given as path and content, under dir.
func plant(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	for name, content := range files {
		p := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o777); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte(content), 0o666); err != nil {
			t.Fatal(err)
		}
	}
}

func wantTree(t *testing.T, dir string, want map[string]string) {
	t.Helper()
	if d := cmp.Diff(want, tree(t, dir)); d != "" {
		t.Errorf("%s: %s", dir, d)
	}
}

// warnings collects what a command says beside its result.
func warnings() (func(string, ...any), *[]string) {
	var got []string
	return func(format string, args ...any) { got = append(got, fmt.Sprintf(format, args...)) }, &got
}

func TestOutDirNew(t *testing.T) {
	dir := t.TempDir()
	o, err := newOutDir(filepath.Join(dir, "a", "b", "out"), nil)
	if err != nil {
		t.Fatal(err)
	}
	plant(t, o.dir(), map[string]string{"adapter_config.json": "new"})
	if _, err := os.Stat(filepath.Join(dir, "a", "b", "out")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the folder is there before it is complete: %v", err)
	}
	if err := o.commit(); err != nil {
		t.Fatal(err)
	}
	o.discard()
	wantTree(t, dir, map[string]string{"a/": "", "a/b/": "", "a/b/out/": "", "a/b/out/adapter_config.json": "new"})
}

func TestOutDirReplaced(t *testing.T) {
	dir := t.TempDir()
	plant(t, dir, map[string]string{"out/adapter_config.json": "old", "out/adapter_model.bin": "stale"})
	if err := os.Chmod(filepath.Join(dir, "out"), 0o750); err != nil {
		t.Fatal(err)
	}
	warn, warned := warnings()
	o, err := newOutDir(filepath.Join(dir, "out")+"/", warn)
	if err != nil {
		t.Fatal(err)
	}
	defer o.discard()
	plant(t, o.dir(), map[string]string{"adapter_config.json": "new"})
	if got := tree(t, filepath.Join(dir, "out")); got["adapter_config.json"] != "old" {
		t.Errorf("replaced before it is complete: %v", got)
	}
	if err := o.commit(); err != nil {
		t.Fatal(err)
	}
	wantTree(t, dir, map[string]string{"out/": "", "out/adapter_config.json": "new"})
	if info, err := os.Stat(filepath.Join(dir, "out")); err != nil || info.Mode().Perm() != 0o750 {
		t.Errorf("mode is %v, want 0750 as before (%v)", info.Mode(), err)
	}
	if len(*warned) > 0 {
		t.Errorf("warned %q", *warned)
	}
}

func TestOutDirDiscarded(t *testing.T) {
	dir := t.TempDir()
	old := map[string]string{"out/": "", "out/adapter_config.json": "old", "out/notes.txt": "mine", "out/sub/": "", "out/sub/x": "y"}
	plant(t, dir, map[string]string{"out/adapter_config.json": "old", "out/notes.txt": "mine", "out/sub/x": "y"})
	o, err := newOutDir(filepath.Join(dir, "out"), nil)
	if err != nil {
		t.Fatal(err)
	}
	plant(t, o.dir(), map[string]string{"half": "done"})
	o.discard()
	o.discard()
	wantTree(t, dir, old)

	o, err = newOutDir(filepath.Join(dir, "a", "b", "out"), nil)
	if err != nil {
		t.Fatal(err)
	}
	o.discard()
	wantTree(t, dir, old) // the parents that were made are gone too
}

// What tenon would not have written is never deleted.
func TestOutDirForeign(t *testing.T) {
	dir := t.TempDir()
	plant(t, dir, map[string]string{"out/thesis.tex": "years of work", "out/figures/a.png": "a", "out.replaced-1": "taken"})
	for i := range 2 {
		warn, warned := warnings()
		o, err := newOutDir(filepath.Join(dir, "out"), warn)
		if err != nil {
			t.Fatal(err)
		}
		plant(t, o.dir(), map[string]string{"adapter_config.json": fmt.Sprint(i)})
		if err := o.commit(); err != nil {
			t.Fatal(err)
		}
		if got := len(*warned); got != 1-i {
			t.Errorf("run %d warned %q", i, *warned)
		}
	}
	wantTree(t, dir, map[string]string{
		"out/": "", "out/adapter_config.json": "1",
		"out.replaced-1":  "taken",
		"out.replaced-2/": "", "out.replaced-2/thesis.tex": "years of work",
		"out.replaced-2/figures/": "", "out.replaced-2/figures/a.png": "a",
	})
}

func TestOutDirSymlink(t *testing.T) {
	dir := t.TempDir()
	plant(t, dir, map[string]string{"disk/real/config.json": "old"})
	if err := os.Symlink(filepath.Join("disk", "real"), filepath.Join(dir, "link")); err != nil {
		t.Skip(err)
	}
	o, err := newOutDir(filepath.Join(dir, "link"), nil)
	if err != nil {
		t.Fatal(err)
	}
	plant(t, o.dir(), map[string]string{"config.json": "new"})
	if err := o.commit(); err != nil {
		t.Fatal(err)
	}
	if got, err := os.Readlink(filepath.Join(dir, "link")); err != nil || got != "disk/real" {
		t.Errorf("the link is %q now (%v)", got, err)
	}
	wantTree(t, filepath.Join(dir, "disk"), map[string]string{"real/": "", "real/config.json": "new"})

	if err := os.Symlink("nowhere", filepath.Join(dir, "dangling")); err != nil {
		t.Fatal(err)
	}
	if _, err := newOutDir(filepath.Join(dir, "dangling"), nil); err == nil {
		t.Error("a dangling link was accepted")
	}
}

func TestOutDirRefused(t *testing.T) {
	dir := t.TempDir()
	plant(t, dir, map[string]string{
		"file":                        "x",
		"model/config.json":           "x",
		"model/model.safetensors":     "x",
		"project/data/train.jsonl":    "x",
		"work/.git/HEAD":              "x",
		"adapter/adapter_config.json": "x",
		"home/user/x":                 "x",
		"cwd/here/x":                  "x",
	})
	t.Chdir(filepath.Join(dir, "cwd", "here"))
	t.Setenv("HOME", filepath.Join(dir, "home", "user"))
	before := tree(t, dir)
	at := func(p string) string { return filepath.Join(dir, p) }
	model := input{flag: "model", path: at("model")}
	for _, c := range []struct {
		out   string
		reads []input
		want  string
	}{
		{"", nil, `--out "": no folder named`},
		{"/", nil, `--out "/": is the root of a file system, which is not replaced`},
		{".", nil, `--out ".": is or holds the current folder, which is not replaced`},
		{"..", nil, `--out "..": is or holds the current folder, which is not replaced`},
		{at("home/user"), nil, "is or holds the home folder, which is not replaced"},
		{at("home"), nil, "is or holds the home folder, which is not replaced"},
		{at("file"), nil, "is a file, want a folder"},
		{at("file/out"), nil, "not a directory"},
		{at("work"), nil, "is a git work tree, which is not replaced"},
		{at("model"), []input{model}, "is what --model reads"},
		{at("model/../model"), []input{model}, "is what --model reads"},
		{at("model"), []input{{flag: "model", path: at("model/model.safetensors")}}, "which --model reads"},
		{at("project"), []input{{flag: "data", path: at("project/data/train.jsonl")}}, "which --data reads"},
		{at("adapter"), []input{{flag: "adapter", path: at("adapter")}}, "is what --adapter reads"},
	} {
		o, err := newOutDir(c.out, nil, c.reads...)
		if err == nil {
			t.Errorf("%q was accepted", c.out)
			o.discard()
		} else if !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q: got %v, want %s", c.out, err, c.want)
		}
	}
	for _, c := range []struct {
		out   string
		reads []input
	}{
		{at("model/lora"), []input{model}},
		{at("cwd/here/out"), nil},
		{"out", nil},
		{at("adapter"), []input{{flag: "init-adapter", path: at("adapter"), replaced: true}}},
	} {
		o, err := newOutDir(c.out, nil, c.reads...)
		if err != nil {
			t.Errorf("%q: %v", c.out, err)
			continue
		}
		o.discard()
	}
	if d := cmp.Diff(before, tree(t, dir)); d != "" {
		t.Error(d)
	}
}

func TestSwapByRename(t *testing.T) {
	dir := t.TempDir()
	plant(t, dir, map[string]string{"a/x": "new", "b/y": "old"})
	a, b := filepath.Join(dir, "a"), filepath.Join(dir, "b")
	if err := swapByRename(a, b); err != nil {
		t.Fatal(err)
	}
	swapped := map[string]string{"a/": "", "a/y": "old", "b/": "", "b/x": "new"}
	wantTree(t, dir, swapped)
	// The new folder cannot be moved: the old one comes back.
	if err := swapByRename(filepath.Join(dir, "missing"), b); err == nil {
		t.Error("no error")
	}
	wantTree(t, dir, swapped)
}

// A complete result is not thrown away when it cannot be put in place.
func TestOutDirCommitFails(t *testing.T) {
	dir := t.TempDir()
	out := filepath.Join(dir, "out")
	o, err := newOutDir(out, nil)
	if err != nil {
		t.Fatal(err)
	}
	plant(t, o.dir(), map[string]string{"adapter_config.json": "new"})
	plant(t, dir, map[string]string{"out": "a file came in between"})
	err = o.commit()
	o.discard()
	if err == nil || !strings.Contains(err.Error(), fmt.Sprintf("complete in %q", out+".new-1")) {
		t.Errorf("got %v", err)
	}
	want := map[string]string{"out": "a file came in between"}
	want["out.new-1/"], want["out.new-1/adapter_config.json"] = "", "new"
	wantTree(t, dir, want)
}
