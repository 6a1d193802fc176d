package tenon_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tenon-ml/tenon"
)

// A folder with nothing but a GGUF file is no checkpoint; the error names the file.
func TestFolderOfGGUF(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, tenon.MergedGGUF)
	if err := os.WriteFile(file, nil, 0o666); err != nil {
		t.Fatal(err)
	}
	_, err := tenon.Load(dir, tenon.Options{Threads: 1})
	if err == nil || !strings.HasSuffix(err.Error(), "config.json: no such file or directory; a GGUF file is named itself: "+file) {
		t.Errorf("Load(a folder of a GGUF file) = %v", err)
	}
}

// Whoever wants the text alone shows nothing.
func TestGenerateWithoutShow(t *testing.T) {
	m, err := tenon.Load("testdata/llama/chat", tenon.Options{Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	g, err := m.Generate(context.Background(), tenon.Request{Prompt: "hello", MaxTokens: 4}, nil)
	if err != nil || g.Tokens == 0 {
		t.Errorf("Generate = %v, %v", g, err)
	}
}
