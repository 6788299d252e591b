package main

import (
	"cmp"
	"encoding/hex"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tr87proxy/tr87proxy/internal/trace"
)

// meaningless returns the first flag that has no meaning together with octets; "" if there is none.
func meaningless(cmd *cobra.Command, octets bool) string {
	if octets {
		for _, name := range []string{"device", "call", "session", "identity", "service", "failures", "raw"} {
			if cmd.Flags().Changed(name) {
				return name
			}
		}
	}
	return ""
}

// wireLines returns the lines that show a record of octets: where they passed, and the octets as text, or in hexadecimal
// digits beside the text if the protocol is no text.
func wireLines(r *trace.Record) []string {
	f := r.Flow
	arrow := "<-"
	if r.Out {
		arrow = "->"
	}
	lines := []string{fmt.Sprintf("%s %s %s %s, %s over %s: %s %s %s, %s", r.Time.Local().Format("15:04:05.000"),
		r.Lane, cmp.Or(r.Front, r.Link), f.Protocol, map[bool]string{true: "sent", false: "received"}[r.Out], f.Transport, f.Local, arrow, f.Remote, octetCount(len(r.Octets)+r.Cut))}
	lines[0] = printable(lines[0])
	text := r.Octets
	switch {
	case f.Protocol == "csta-xml" && len(text) > 8 && text[0] == 0: // the header is no text
		lines = append(lines, fmt.Sprintf("    % x", text[:8]))
		text = text[8:]
	case f.Protocol == "asn1":
		for line := range strings.Lines(hex.Dump(text)) {
			lines = append(lines, "    "+strings.TrimRight(line, "\n"))
		}
		text = nil
	}
	for line := range strings.Lines(string(text)) {
		lines = append(lines, "    "+printable(strings.TrimRight(line, "\r\n")))
	}
	if r.Cut > 0 {
		lines = append(lines, fmt.Sprintf("    (%d octets that are not kept)", r.Cut))
	}
	return lines
}

func octetCount(n int) string {
	if n == 1 {
		return "1 octet"
	}
	return fmt.Sprintf("%d octets", n)
}
