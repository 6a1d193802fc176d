// Package cli is the command tenon: one thin file for each subcommand.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"unicode"
	"unicode/utf8"

	"github.com/spf13/cobra"
	"github.com/tenon-ml/tenon/tensor"
)

// env is what a command reads and writes besides files.
type env struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	disk           disk
}

// warn prints a message that does not end the command.
func (e *env) warn(format string, args ...any) {
	fmt.Fprintln(e.stderr, "tenon: "+oneLine(fmt.Errorf(format, args...)))
}

// The exit statuses.
const (
	exitDone   = 0
	exitFailed = 1 // the job was not done
	exitUsage  = 2 // the command line was wrong

	exitSignal = 128 // and the number of the signal that ended it
)

// usageError is a command line that is wrong in itself: how it is used follows it.
type usageError struct{ error }

func usagef(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

// Main runs the command with the arguments behind its name and returns the
// exit status. Results go to stdout; progress, messages and a last line that
// says what went wrong go to stderr.
func Main(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	return execute(&env{stdin: stdin, stdout: stdout, stderr: stderr}, args)
}

func execute(e *env, args []string) int {
	ctx, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	defer signal.Stop(signals)
	go func() {
		select {
		case s := <-signals:
			// The first signal lets a command tidy up; a second one ends it at once.
			signal.Stop(signals)
			cancel(&interrupted{s})
		case <-ctx.Done():
		}
	}()

	root := newRoot(e)
	root.SetArgs(args)
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd()
	if len(args) > 0 && !strings.HasPrefix(args[0], "-") && !strings.HasPrefix(args[0], "__") {
		// Before its flags, which the root does not know, are complained of.
		names := args[:1]
		if names[0] == "help" {
			names = slices.DeleteFunc(slices.Clone(args[1:]), func(a string) bool { return strings.HasPrefix(a, "-") })
		}
		if known, _, err := root.Find(names); len(names) > 0 && (err != nil || known == root) {
			fmt.Fprintf(e.stderr, "tenon: unknown command %q\n\n%s", names[0], root.UsageString())
			return exitUsage
		}
	}
	cmd := root
	err := tensor.Try(func() (err error) { // memory that is not to be had is an error like any
		cmd, err = root.ExecuteContextC(ctx)
		return err
	})
	if err == nil {
		return exitDone
	}
	status := exitFailed
	message := oneLine(err)
	if by, ok := errors.AsType[*interrupted](context.Cause(ctx)); ok && errors.Is(err, context.Canceled) {
		message = strings.ReplaceAll(message, context.Canceled.Error(), "interrupted")
		status = by.status()
	}
	fmt.Fprintln(e.stderr, cmd.CommandPath()+": "+message)
	if _, ok := errors.AsType[usageError](err); ok {
		fmt.Fprintf(e.stderr, "Usage: %s (--help tells more)\n", cmd.UseLine())
		return exitUsage
	}
	return status
}

// interrupted is a signal that ended a command.
type interrupted struct{ by os.Signal }

func (i *interrupted) Error() string { return i.by.String() }

// status is what a shell says of a command that the signal ended: 130 for an
// interrupt, 143 for SIGTERM.
func (i *interrupted) status() int {
	if s, ok := i.by.(syscall.Signal); ok {
		return exitSignal + int(s)
	}
	return exitFailed
}

func newRoot(e *env) *cobra.Command {
	root := &cobra.Command{
		Use:   "tenon",
		Short: "Fine-tune language models with LoRA and run them, on the CPU",
		Long: `tenon fine-tunes language models as Hugging Face PEFT does, and runs them.

Models are Hugging Face folders, .safetensors or .gguf files; adapters are
PEFT's folders, read and written.`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usagef("unknown command %q", args[0])
			}
			return nil
		},
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
		Version:       version(),
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.SetVersionTemplate("{{.Version}}\n")
	root.SetIn(e.stdin)
	root.SetOut(e.stdout)
	root.SetErr(e.stderr)
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	for _, command := range []func(*env) *cobra.Command{
		newBench, newDemo, newEval, newFinetune, newGenerate, newInspect, newLogits, newMerge, newPlan, newQuantize, newSynth, newTokenize, newVersion,
	} {
		root.AddCommand(command(e))
	}
	return root
}

// noArgs refuses arguments that are no flags.
func noArgs(_ *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usagef("unexpected argument %q", args[0])
	}
	return nil
}

// require reports flags that a command cannot do without.
func require(cmd *cobra.Command, flags ...string) error {
	for _, f := range flags {
		if v := cmd.Flags().Lookup(f); v == nil || !v.Changed {
			return usagef("--%s is missing", f)
		} else if v.Value.String() == "" {
			return usagef("--%s is empty", f)
		}
	}
	return nil
}

// exactlyOne reports when none or several of some flags are given.
func exactlyOne(cmd *cobra.Command, flags ...string) error {
	var given []string
	for _, f := range flags {
		if cmd.Flags().Changed(f) {
			given = append(given, "--"+f)
		}
	}
	switch len(given) {
	case 1:
		return nil
	case 0:
		return usagef("--%s is missing", strings.Join(flags, " or --"))
	}
	return usagef("%s exclude each other", strings.Join(given, " and "))
}

// oneLine returns an error's message as one line that a terminal can show:
// joined errors are separated by semicolons, and control characters, which a
// file's name or a damaged header may hold, are escaped.
func oneLine(err error) string {
	if j, ok := err.(interface{ Unwrap() []error }); ok {
		// Only errors.Join puts a line break between its errors; fmt.Errorf
		// with several %w has its own text.
		var parts []string
		for _, e := range j.Unwrap() {
			parts = append(parts, e.Error())
		}
		if err.Error() == strings.Join(parts, "\n") {
			for i, e := range j.Unwrap() {
				parts[i] = oneLine(e)
			}
			return strings.Join(parts, "; ")
		}
	}
	return printable(err.Error())
}

// printable escapes what a terminal would not show as it stands.
func printable(s string) string {
	var b strings.Builder
	for i, r := range s {
		switch {
		case r == utf8.RuneError && !strings.HasPrefix(s[i:], string(utf8.RuneError)):
			fmt.Fprintf(&b, `\x%02x`, s[i])
		case r == ' ' || unicode.IsPrint(r):
			b.WriteRune(r)
		default:
			q := fmt.Sprintf("%q", r)
			b.WriteString(q[1 : len(q)-1])
		}
	}
	return b.String()
}
