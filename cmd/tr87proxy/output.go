package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tr87proxy/tr87proxy/internal/config"
	"github.com/tr87proxy/tr87proxy/sip"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

// What a command writes is text for people, or with --json JSON for programs: its output, what it says on standard error
// beside, and the error that ends it.

// noJSON is the annotation of a command that has no output for programs. Its value says what a program does instead.
const noJSON = "no-json"

// outputFlags adds the flags about the output to all commands.
func outputFlags(root *cobra.Command) {
	root.PersistentFlags().Bool("json", false, "write JSON for programs, also of errors")
	root.PersistentFlags().Bool("no-color", false, "write no colours in a terminal; so does the environment variable NO_COLOR")
	root.PersistentPreRunE = func(cmd *cobra.Command, _ []string) error {
		for of := cmd; of != nil; of = of.Parent() {
			if instead := of.Annotations[noJSON]; instead != "" && asJSON(cmd) {
				return usageError{fmt.Errorf("%s has no --json: %s", cmd.CommandPath(), instead)}
			}
		}
		return nil
	}
}

// asJSON reports whether a command writes JSON.
func asJSON(cmd *cobra.Command) bool {
	on, err := cmd.Flags().GetBool("json")
	return err == nil && on
}

// write writes a value as JSON, or for people what text writes.
func write(cmd *cobra.Command, value any, text func(out io.Writer) error) error {
	if asJSON(cmd) {
		return writeJSON(cmd.OutOrStdout(), value)
	}
	return text(cmd.OutOrStdout())
}

// writeJSON writes a value as one line of JSON.
func writeJSON(out io.Writer, value any) error {
	encoder := json.NewEncoder(out)
	encoder.SetEscapeHTML(false)
	return encoder.Encode(value)
}

// note writes to standard error what a command says beside its output.
func note(errOut io.Writer, inJSON bool, format string, values ...any) {
	text := fmt.Sprintf(format, values...)
	if inJSON {
		_ = writeJSON(errOut, struct {
			Note string `json:"note"`
		}{text})
		return
	}
	for line := range strings.Lines(text) {
		fmt.Fprintln(errOut, printable(strings.TrimSuffix(line, "\n")))
	}
}

// failure is an error for programs.
type failure struct {
	Error  string  `json:"error"`
	Kind   string  `json:"kind,omitempty"` // usage: of the command line or configuration; csta, sip: the server has refused it
	Code   string  `json:"code,omitempty"` // of kind csta: category and value; of kind sip: the status code
	Faults []fault `json:"faults,omitempty"`
}

// fault is what is wrong in a configuration file.
type fault struct {
	File string `json:"file"`
	Line int    `json:"line"`
	Key  string `json:"key"`
	Text string `json:"text"`
}

// describeFailure returns an error as programs get it.
func describeFailure(err error) failure {
	f := failure{Error: err.Error()}
	var usage usageError
	var refusal *uacsta.Error
	var status *sip.Refusal
	var faults config.Faults
	switch {
	case errors.As(err, &refusal):
		f.Kind, f.Code = "csta", string(refusal.Category)+"/"+refusal.Value
	case errors.As(err, &status):
		f.Kind, f.Code = "sip", strconv.Itoa(status.Response.Code())
	case errors.As(err, &usage):
		f.Kind = "usage"
	}
	if errors.As(err, &faults) {
		for _, one := range faults {
			f.Faults = append(f.Faults, fault(one))
		}
	}
	return f
}

// complain writes the error that ends a command, which was called with these arguments.
func complain(errOut io.Writer, cmd *cobra.Command, args []string, err error) {
	if asJSON(cmd) || slices.Contains(args[:dashes(args)], "--json") { // flags after a wrong one are not parsed
		_ = writeJSON(errOut, describeFailure(err))
		return
	}
	p := painterFor(cmd, errOut)
	var faults config.Faults
	text := err.Error()
	for i, line := range strings.Split(text, "\n") {
		line = printable(line)
		if i == 0 {
			line = p.paint(bad, "tr87proxy:") + " " + line
		}
		if errors.As(err, &faults) {
			for _, one := range faults {
				place := fmt.Sprintf("%s:%d: %s:", one.File, one.Line, one.Key)
				line = strings.Replace(line, place, p.paint(bad, place), 1)
			}
		}
		fmt.Fprintln(errOut, line)
	}
}

// dashes returns how many arguments can be flags: those before --.
func dashes(args []string) int {
	if at := slices.Index(args, "--"); at >= 0 {
		return at
	}
	return len(args)
}
