package cli

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/tenon-ml/tenon/format/safetensors"
	"github.com/tenon-ml/tenon/lora"
	"github.com/tenon-ml/tenon/train"
)

// checkpointName is the name of the folder with the state after a step, as
// transformers' Trainer gives it.
func checkpointName(step int) string { return fmt.Sprintf("checkpoint-%d", step) }

// checkpointStep is the reverse of checkpointName.
func checkpointStep(name string) (step int, ok bool) {
	digits, ok := strings.CutPrefix(name, "checkpoint-")
	step, err := strconv.Atoi(digits)
	return step, ok && err == nil && checkpointName(step) == name
}

// checkpointSteps returns the steps of the checkpoint folders in out, in order.
func checkpointSteps(out string) ([]int, error) {
	entries, err := os.ReadDir(out)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var list []int
	for _, e := range entries {
		if step, ok := checkpointStep(e.Name()); ok && e.IsDir() {
			list = append(list, step)
		}
	}
	slices.Sort(list)
	return list, err
}

// finishedRun reports whether out's last checkpoint is the end of its run.
func finishedRun(out string) bool {
	list, err := checkpointSteps(out)
	if err != nil || len(list) == 0 {
		return false
	}
	last := list[len(list)-1]
	s, err := train.ReadState(filepath.Join(out, checkpointName(last)))
	return err == nil && s.Step == last && s.Step == s.Steps
}

// superseded reports whether an entry of a folder that final has replaced is a
// checkpoint that nobody misses: final has it too, or its run came to its end.
func superseded(dir, final string, e fs.DirEntry) bool {
	if _, ok := checkpointStep(e.Name()); !ok || !e.IsDir() {
		return false
	}
	_, err := os.Stat(filepath.Join(final, e.Name(), train.StateFile))
	return err == nil || finishedRun(dir)
}

// checkpoint is a state to go on from.
type checkpoint struct {
	dir   string
	state train.State
}

// readCheckpoint reads a checkpoint and checks that its files are whole, to the last
// bit.
func readCheckpoint(dir string) (*checkpoint, error) {
	if err := checkSums(dir); err != nil {
		return nil, err
	}
	s, err := train.ReadState(dir)
	if err != nil {
		return nil, err
	}
	if step, ok := checkpointStep(filepath.Base(dir)); ok && step != s.Step {
		return nil, fmt.Errorf("%s: is of step %d", filepath.Join(dir, train.StateFile), s.Step)
	}
	var f *safetensors.File
	if slices.Equal(s.Options["method"], []string{"full"}) {
		f, err = safetensors.OpenDir(dir)
	} else if _, err = lora.ReadConfig(dir); err == nil {
		f, err = safetensors.Open(filepath.Join(dir, lora.WeightsFile))
	}
	if err != nil {
		return nil, err
	}
	return &checkpoint{dir, s}, f.Close()
}

// findCheckpoint returns the checkpoint that --resume names: path itself, or the
// newest in it that is whole.
func findCheckpoint(path string, warn func(string, ...any)) (*checkpoint, error) {
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return nil, fmt.Errorf("--resume %q: %w", path, plain(err))
	case !info.IsDir():
		return nil, fmt.Errorf("--resume %q: is a file, want a folder", path)
	}
	list, err := checkpointSteps(path)
	if err != nil {
		return nil, fmt.Errorf("--resume %q: %w", path, plain(err))
	}
	if _, err := os.Stat(filepath.Join(path, train.StateFile)); err == nil {
		return readCheckpoint(path)
	}
	if len(list) == 0 {
		return nil, fmt.Errorf("--resume %q: there is no checkpoint in it: no folder such as %s", path, checkpointName(1))
	}
	var bad []error
	for _, step := range slices.Backward(list) {
		c, err := readCheckpoint(filepath.Join(path, checkpointName(step)))
		if err == nil {
			for _, err := range bad {
				warn("%w: going on from %q, the one before", err, c.dir)
			}
			return c, nil
		}
		bad = append(bad, err)
	}
	return nil, fmt.Errorf("--resume %q: no checkpoint in it is whole: %w", path, bad[0])
}

// saveError is that a checkpoint could not be saved.
type saveError struct{ error }

func (e *saveError) Unwrap() error { return e.error }

// checkpoints are the states that a run leaves in its --out while it goes on.
type checkpoints struct {
	out  *outDir
	most int  // 0: all are kept
	mine bool // those in out are of this run
	good int  // the step of the last one that was read or saved; 0: none
}

// open looks at what checkpoints there are. Those of another run that did not come
// to its end are not to be lost, nor to be mixed up with this run's.
func (k *checkpoints) open(from *checkpoint) error {
	list, err := checkpointSteps(k.out.final)
	if err != nil {
		return fmt.Errorf("--out %q: %w", k.out.given, plain(err))
	}
	if k.mine = from != nil && same(k.out.final, filepath.Dir(from.dir)); k.mine {
		k.good = from.state.Step
	}
	if !k.mine && len(list) > 0 && !finishedRun(k.out.final) {
		return fmt.Errorf("--out %q: holds %s of a run that is not finished: go on with it by --resume %s, or remove its checkpoints, or name another folder",
			k.out.given, checkpointName(list[len(list)-1]), shellQuote(k.out.given))
	}
	entries, _ := os.ReadDir(k.out.final) // it may not be there yet
	for _, e := range entries {           // what was left half done when a process was killed
		if strings.HasPrefix(e.Name(), ".checkpoint-") && strings.HasSuffix(e.Name(), ".tmp") {
			if err := os.RemoveAll(filepath.Join(k.out.final, e.Name())); err != nil {
				return fmt.Errorf("--out %q: %w", k.out.given, err)
			}
		}
	}
	return nil
}

// path is where the checkpoint of a step lies, as the user would name it.
func (k *checkpoints) path(step int) string {
	return filepath.Join(k.out.given, checkpointName(step))
}

// save writes the checkpoint of a step: into a hidden folder, which is synced and
// then gets its name, so that at any moment the checkpoint is whole or not there.
// After an error the checkpoints are what they were.
func (k *checkpoints) save(step int, write func(dir string) error) (err error) {
	out, disk := k.out.final, k.out.disk
	defer func() {
		if err != nil {
			err = &saveError{fmt.Errorf("%s: %w", k.path(step), err)}
		}
	}()
	switch err := os.Mkdir(out, 0o777); {
	case err == nil:
		defer os.Remove(out) // only if nothing came into it
		if err := disk.sync(filepath.Dir(out)); err != nil {
			return err
		}
	case !errors.Is(err, fs.ErrExist):
		return err
	}
	temp := filepath.Join(out, "."+checkpointName(step)+".tmp")
	if err := os.Mkdir(temp, 0o777); err != nil {
		return err
	}
	defer os.RemoveAll(temp)
	if err := disk.may("write", temp); err != nil {
		return err
	}
	if err := write(temp); err != nil {
		return err
	}
	if err := writeSums(temp); err != nil {
		return err
	}
	if err := disk.syncTree(temp); err != nil {
		return err
	}
	if !k.mine { // those of a run that came to its end make room
		if err := k.prune(0, step); err != nil {
			return err
		}
	}
	path := filepath.Join(out, checkpointName(step))
	place := disk.rename
	if _, err := os.Lstat(path); err == nil {
		place = disk.exchange
	}
	if err := place(temp, path); err != nil {
		return err
	}
	k.mine, k.good = true, step
	if err := disk.sync(out); err != nil {
		return err
	}
	if k.most > 0 {
		return k.prune(k.most, step)
	}
	return nil
}

// prune removes the oldest checkpoints, but that of a step, until so many are left.
func (k *checkpoints) prune(most, but int) error {
	list, err := checkpointSteps(k.out.final)
	for _, step := range list[:max(0, len(list)-most)] {
		if step == but && most > 0 {
			continue
		}
		// First it loses its name: half of a checkpoint is none.
		path := filepath.Join(k.out.final, checkpointName(step))
		gone := filepath.Join(k.out.final, "."+checkpointName(step)+".old.tmp")
		if err == nil {
			err = k.out.disk.rename(path, gone)
		}
		if err == nil {
			err = os.RemoveAll(gone)
		}
	}
	return err
}

// last returns the last checkpoint that is known to be good, "" if there is none.
func (k *checkpoints) last() string {
	if k.good == 0 {
		return ""
	}
	return k.path(k.good)
}

// carry puts the checkpoints into the folder that will take the place of out. The
// files are the same ones under a second name where the file system can do that.
func (k *checkpoints) carry() error {
	if !k.mine {
		return nil
	}
	list, err := checkpointSteps(k.out.final)
	if err != nil {
		return err
	}
	for _, step := range list {
		from, to := filepath.Join(k.out.final, checkpointName(step)), filepath.Join(k.out.dir(), checkpointName(step))
		if err := os.Mkdir(to, 0o777); err != nil {
			return err
		}
		entries, err := os.ReadDir(from)
		if err != nil {
			return err
		}
		for _, e := range entries {
			if err := linkOrCopy(filepath.Join(from, e.Name()), filepath.Join(to, e.Name())); err != nil {
				return err
			}
		}
	}
	return nil
}

func linkOrCopy(from, to string) error {
	if os.Link(from, to) == nil {
		return nil
	}
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o666)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return cmp.Or(err, out.Close())
}

// shellQuote returns a word as a shell takes it.
func shellQuote(s string) string {
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("-_./=:,+@%", r)
	}
	if s != "" && strings.IndexFunc(s, func(r rune) bool { return !plain(r) }) < 0 {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
