package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// A process is a peer that runs, and speaks as bench/peers/serve.py says.
type process struct {
	name string
	cmd  *exec.Cmd
	in   io.WriteCloser
	out  *bufio.Reader
}

// scripts are the peers that are Python, by the first word of their key; the other
// words are arguments.
var scripts = map[string]string{"openblas": "openblas.py", "onednn": "onednn.py", "ggml": "ggml.py", "torch": "torch_lora.py", "qlora": "torch_qlora.py", "llamacpp": "llamacpp.py"}

// process returns the peer of a key, started when it is first asked for and kept to
// the CPUs that this process has then; nil if it is not to be had.
func (r *runner) process(key string, threads int) *process {
	id := fmt.Sprint(key, " on ", threads)
	if p, ok := r.peers[id]; ok {
		return p
	}
	p, err := r.start(key, threads)
	if err != nil {
		log.Printf("without %s: %v", key, err)
		r.record.Missing[key] = err.Error()
		p = nil
	}
	r.peers[id] = p
	return p
}

func (r *runner) start(key string, threads int) (*process, error) {
	name, args, _ := strings.Cut(key, " ")
	var line []string
	if script, ok := scripts[name]; ok {
		if r.python == "" {
			return nil, errors.New("no -python")
		}
		line = append([]string{r.python, filepath.Join("bench", "peers", script)}, strings.Fields(args)...)
	} else {
		if r.goPeers == "" {
			return nil, errors.New("no -gopeers")
		}
		line = []string{r.goPeers, name}
	}
	cmd := exec.CommandContext(r.ctx, line[0], line[1:]...)
	n := fmt.Sprint(threads)
	cmd.Env = append(slices.DeleteFunc(os.Environ(), func(s string) bool {
		return strings.HasPrefix(s, "OPENBLAS_CORETYPE=") || strings.HasPrefix(s, "OPENBLAS_L2_SIZE=")
	}), "OPENBLAS_NUM_THREADS="+n, "OMP_NUM_THREADS="+n, "MKL_NUM_THREADS="+n, "GOMAXPROCS="+n)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	p := &process{cmd: cmd, in: in, out: bufio.NewReader(out)}
	var about struct{ Peer, Version string }
	if err := p.read(&about); err != nil {
		p.close()
		last := strings.TrimSpace(stderr.String())
		return nil, fmt.Errorf("%w: %s", err, last[strings.LastIndexByte(last, '\n')+1:])
	}
	p.name = about.Peer
	r.record.Peers[about.Peer] = about.Version
	return p, nil
}

// against returns the peer of a key as a rival that is asked this, nothing if it is
// not to be had.
func (r *runner) against(key string, threads int, request map[string]any) []rival {
	p := r.process(key, threads)
	if p == nil {
		return nil
	}
	return []rival{{p.name, []int{p.cmd.Process.Pid}, func(reps int) (float64, error) {
		request["reps"] = reps
		return p.sample(request)
	}}}
}

func (p *process) read(v any) error {
	line, err := p.out.ReadBytes('\n')
	if err != nil {
		return err
	}
	return json.Unmarshal(line, v)
}

// sample asks for one sample and returns its seconds.
func (p *process) sample(request map[string]any) (float64, error) {
	text, err := json.Marshal(request)
	if err != nil {
		return 0, err
	}
	if _, err := p.in.Write(append(text, '\n')); err != nil {
		return 0, err
	}
	var answer struct {
		Seconds float64
		Error   string
	}
	if err := p.read(&answer); err != nil {
		return 0, fmt.Errorf("%s: %w", p.name, err)
	}
	if answer.Error != "" {
		return 0, errors.New(answer.Error)
	}
	if answer.Seconds <= 0 {
		return 0, fmt.Errorf("%s: a sample of %g s", p.name, answer.Seconds)
	}
	return answer.Seconds, nil
}

func (p *process) close() {
	p.in.Close()
	p.cmd.Wait()
}

// stop ends the peers whose key begins so.
func (r *runner) stop(key string) {
	for id, p := range r.peers {
		if strings.HasPrefix(id, key) {
			if p != nil {
				p.close()
			}
			delete(r.peers, id)
		}
	}
}

func (r *runner) close() { r.stop("") }
