package gguf

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	"github.com/tenon-ml/tenon/tensor"
)

// fileTypes are the numbers of general.file_type for the types that most tensors of a
// file may be rewritten to.
var fileTypes = map[tensor.DType]uint32{tensor.F32: 0, tensor.F16: 1, tensor.Q8_0: 7, tensor.BF16: 32}

// Rewrite writes a new file at path, which must not exist, with the metadata of f and
// its tensors in their order. The tensors in types become those types, and data returns
// their contents, rows in the file's order; the others are copied as they are. It asks
// for one at a time. The key general.file_type, if there is one, becomes that of fileType.
// After an error there is no file.
func (f *File) Rewrite(path string, fileType tensor.DType, types map[string]tensor.DType, data func(name string) ([]byte, error)) (err error) {
	header, tensors, err := f.rewritten(fileType, types)
	if err != nil {
		return err
	}
	out, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o666)
	if err != nil {
		return err
	}
	defer func() {
		if err = errors.Join(err, out.Close()); err != nil {
			err = errors.Join(err, os.Remove(path))
		}
	}()
	w := bufio.NewWriterSize(out, 1<<20)
	if _, err := w.Write(header); err != nil {
		return err
	}
	for _, t := range tensors {
		write := func(b []byte) error {
			if len(b) != t.Bytes {
				return fmt.Errorf("%s: tensor %q: %d bytes, want %d", f.path, t.Name, len(b), t.Bytes)
			}
			_, err := w.Write(b)
			return errors.Join(err, pad(w, t.Bytes, f.alignment))
		}
		if _, changed := types[t.Name]; changed {
			b, err := data(t.Name)
			if err == nil {
				err = write(b)
			}
			if err != nil {
				return err
			}
			continue
		}
		if err := f.View(t.Name, write); err != nil {
			return err
		}
		f.Release(t.Name)
	}
	return errors.Join(w.Flush(), out.Sync())
}

// rewritten returns the new file's bytes before its data, and its tensors.
func (f *File) rewritten(fileType tensor.DType, types map[string]tensor.DType) ([]byte, []Tensor, error) {
	var b []byte
	if err := f.file.Try(func() error {
		b = slices.Clone(f.file.Bytes()[:f.described])
		return nil
	}); err != nil {
		return nil, nil, err
	}
	if f.fileType > 0 {
		binary.LittleEndian.PutUint32(b[f.fileType:], fileTypes[fileType])
	}
	tensors := f.Tensors()
	start := 0
	for i := range tensors {
		t := &tensors[i]
		if dt, ok := types[t.Name]; ok {
			block, _ := dt.Block()
			if _, ok := typeID(dt.String()); !ok || len(t.Shape) == 0 || t.Shape[len(t.Shape)-1]%block != 0 {
				return nil, nil, fmt.Errorf("%s: tensor %q of shape %v cannot be written as %v", f.path, t.Name, t.Shape, dt)
			}
			t.DType, t.Type, t.Bytes = dt, dt.String(), dt.Bytes(tensor.Shape(t.Shape).Elems())
		}
		id, _ := typeID(t.Type)
		b = binary.LittleEndian.AppendUint64(b, uint64(len(t.Name)))
		b = append(b, t.Name...)
		b = binary.LittleEndian.AppendUint32(b, uint32(len(t.Shape)))
		for _, d := range slices.Backward(t.Shape) {
			b = binary.LittleEndian.AppendUint64(b, uint64(d))
		}
		b = binary.LittleEndian.AppendUint32(b, id)
		b = binary.LittleEndian.AppendUint64(b, uint64(start))
		start += t.Bytes + padding(t.Bytes, f.alignment)
	}
	return append(b, make([]byte, padding(len(b), f.alignment))...), tensors, nil
}

// typeID returns ggml's number of a type.
func typeID(name string) (id uint32, ok bool) {
	for id, t := range ggmlTypes {
		if t.name == name {
			return id, true
		}
	}
	return 0, false
}

// padding returns how many bytes are missing from n to a multiple of the alignment.
func padding(n, alignment int) int { return (alignment - n%alignment) % alignment }

func pad(w io.Writer, n, alignment int) error {
	_, err := w.Write(make([]byte, padding(n, alignment)))
	return err
}
