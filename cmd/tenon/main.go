// Command tenon fine-tunes language models with PEFT's methods and runs them,
// on the CPU. `tenon help` lists what it does.
package main

import (
	"os"

	"github.com/tenon-ml/tenon/internal/cli"
)

func main() { os.Exit(cli.Main(os.Args[1:], os.Stdin, os.Stdout, os.Stderr)) }
