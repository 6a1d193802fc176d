package cli

import (
	"cmp"
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"

	"github.com/tenon-ml/tenon/asm"
)

func newVersion(e *env) *cobra.Command {
	return &cobra.Command{
		Use:     "version",
		Short:   "Print the version",
		Long:    "Print the version, the Go release and platform it was built for, and the kernels that this machine runs.",
		Example: "  tenon version",
		Args:    noArgs,
		RunE: func(*cobra.Command, []string) error {
			_, err := fmt.Fprintln(e.stdout, version())
			return err
		},
	}
}

// version describes the program by what Go's linker noted in it: the module's version,
// or the revision that it was built from.
func version() string {
	v, revision, changed := "", "", ""
	if info, ok := debug.ReadBuildInfo(); ok {
		v = info.Main.Version
		for _, s := range info.Settings {
			switch {
			case s.Key == "vcs.revision":
				revision = s.Value
			case s.Key == "vcs.modified" && s.Value == "true":
				changed = "+dirty"
			}
		}
	}
	if v == "" || v == "(devel)" {
		v = cmp.Or(revision, "unknown") + changed
	}
	return fmt.Sprintf("tenon %s, %s %s/%s, %s", v, runtime.Version(), runtime.GOOS, runtime.GOARCH, asm.Tier())
}
