package main

import (
	"cmp"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"net/http"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tr87proxy/tr87proxy/internal/capture"
	"github.com/tr87proxy/tr87proxy/internal/operations"
	"github.com/tr87proxy/tr87proxy/internal/trace"
)

// meaningless returns the first flag that has no meaning together with octets; "" if there is none.
func meaningless(cmd *cobra.Command, octets bool) string {
	if octets {
		for _, name := range []string{"device", "call", "session", "identity", "service", "failures", "raw", "interactive"} {
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

// capture writes what the trace has to a capture file; - is standard output.
func (v *traceView) capture(ctx context.Context, socket *adminSocket, q operations.TraceQuery, file string) (err error) {
	none := operations.TraceQuery{Octets: true, After: math.MaxUint64}
	if err := socket.ask(ctx, http.MethodGet, none.Path(), &trace.Answer{}); err != nil { // before there is a file
		return err
	}
	to := v.out
	if file != "-" {
		f, err := os.OpenFile(file, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, f.Close()) }()
		to = f
	}
	if v.packets, err = capture.NewWriter(to); err != nil {
		return err
	}
	return v.run(ctx, socket, q)
}

// page shows all records that there are but for the last page, which it leaves in answer.
func (v *traceView) page(ctx context.Context, socket *adminSocket, q *operations.TraceQuery, answer *trace.Answer) error {
	for {
		*answer = trace.Answer{}
		if err := socket.ask(ctx, http.MethodGet, q.Path(), answer); err != nil {
			return err
		}
		if len(answer.Records) < operations.TraceMost {
			return nil
		}
		if err := v.show(*answer); err != nil {
			return err
		}
		q.After = answer.Last
	}
}
