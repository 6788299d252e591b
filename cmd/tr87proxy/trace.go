package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/tr87proxy/tr87proxy/internal/capture"
	"github.com/tr87proxy/tr87proxy/internal/operations"
	"github.com/tr87proxy/tr87proxy/internal/trace"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

func traceCommand() *cobra.Command {
	var socket adminSocket
	var q operations.TraceQuery
	var last time.Duration
	var follow, raw, interactive bool
	var pcap, file string
	cmd := &cobra.Command{
		Use: "trace", Short: "Show what passed through a running proxy, and what it decided", GroupID: "server", Args: exactly(0),
		Long: `trace shows the last messages that clients and switches have sent, those that the proxy has
sent them, and the decision between: a ladder with the client at the left, the proxy in the
middle, and the switch at the right. A filter selects whole exchanges: a request with its
decision, what the switch got of it, and the response; or an event with what clients got of it.

With --octets it shows the octets on the wire instead: whole SIP messages, also those of telephones,
frames of CSTA-XML, PDUs of ASN.1, lines of ctserver, and messages of FreeSWITCH's event socket.

With --pcap it writes the octets as packets to a file that Wireshark and sngrep open, without TLS;
- is standard output.

Passwords are not shown. The proxy keeps the newest messages only (trace in the configuration). With
trace.file it writes them to files, too, which --file reads: all of FILE.1, FILE.2 and so on, and
FILE, also without a running proxy.`,
		Example: `  tr87proxy trace --last 5m
  tr87proxy trace --follow --device 100
  tr87proxy trace --interactive
  tr87proxy trace --failures
  tr87proxy trace --call 9d7f_4 --raw     with the messages
  tr87proxy trace --identity crm --json | jq -r .name
  tr87proxy trace --file /var/log/tr87proxy/trace.json --call 9d7f_4
  tr87proxy trace --octets --lane telephone --peer 192.0.2.7 --follow
  tr87proxy trace --pcap calls.pcap
  tr87proxy trace --pcap - --follow | sngrep -I -`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if last < 0 {
				return usageError{fmt.Errorf("--last %s: write a time that has passed, such as 5m", last)}
			}
			q.Octets = q.Octets || pcap != ""
			if name := meaningless(cmd, q.Octets); name != "" {
				return usageError{fmt.Errorf("--%s does not apply to octets; choose them by --peer, --front, --link, --lane and --last", name)}
			}
			if last > 0 {
				q.Since = time.Now().Add(-last)
			}
			out := cmd.OutOrStdout()
			if file != "" && (follow || interactive || q.Octets) {
				return usageError{errors.New("--file reads messages and decisions that were written before: without --follow, --interactive, --octets and --pcap")}
			}
			if interactive {
				if !terminal(out) || asJSON(cmd) {
					return usageError{errors.New("--interactive needs a terminal, and shows it to people: without --json")}
				}
				return (&traceScreen{ctx: cmd.Context(), socket: &socket, query: q, painter: painterFor(cmd, out)}).run(out)
			}
			v := &traceView{out: out, errOut: cmd.ErrOrStderr(), json: asJSON(cmd), raw: raw, follow: follow, history: !follow || last > 0 || pcap != "", arrow: arrowsOf(out), painter: painterFor(cmd, out)}
			if file != "" {
				return v.read(file, q.Filter)
			}
			if pcap == "" {
				return v.run(cmd.Context(), &socket, q)
			}
			if asJSON(cmd) {
				return usageError{errors.New("--json and --pcap are two forms; write one of them")}
			}
			return v.capture(cmd.Context(), &socket, q, pcap)
		},
	}
	socket.flags(cmd)
	fl := cmd.Flags()
	fl.BoolVarP(&follow, "follow", "f", false, "go on until interrupted; without --last or --pcap, begin now")
	fl.BoolVarP(&interactive, "interactive", "i", false, "fill the terminal: a list of exchanges, calls or sessions, their ladders and messages")
	fl.DurationVar(&last, "last", 0, "only of this time, such as 5m")
	fl.StringVar(&q.Device, "device", "", "about a device, as a message writes it or as the rules see it")
	fl.StringVar(&q.Call, "call", "", "about a call, by the callID of clients or of the switch")
	fl.StringVar(&q.Session, "session", "", "of a client's session")
	fl.StringVar(&q.Identity, "identity", "", "of clients with this identity")
	fl.StringVar(&q.Link, "link", "", "of a link")
	fl.StringVar(&q.Front, "front", "", "of a front, such as xml")
	fl.StringVar(&q.Peer, "peer", "", "to and from an address, with or without port")
	fl.StringVar(&q.Lane, "lane", "", "between the proxy and a client, switch or telephone; or decisions: proxy")
	fl.StringVar(&q.Name, "service", "", "of a service or event, such as MakeCall or Delivered")
	fl.BoolVar(&q.Failures, "failures", false, "only what was refused or failed, also sessions and logins")
	fl.BoolVar(&raw, "raw", false, "show the messages, too")
	fl.BoolVar(&q.Octets, "octets", false, "show the octets on the wire")
	fl.StringVar(&pcap, "pcap", "", "write the octets on the wire to this file, as packets; -: standard output")
	fl.StringVar(&file, "file", "", "read this file of trace.file, and the older ones beside it, instead of a running proxy")
	_ = cmd.MarkFlagFilename("file")
	_ = cmd.MarkFlagFilename("pcap")
	return cmd
}

// traceView shows records.
type traceView struct {
	out, errOut                io.Writer
	json, raw, follow, history bool
	arrow                      int // columns of an arrow of the ladder
	painter                    painter
	packets                    *capture.Writer // takes octets, in place of out; nil: out
}

func (v *traceView) run(ctx context.Context, socket *adminSocket, q operations.TraceQuery) error {
	var answer trace.Answer
	if q.Oldest = v.packets != nil && v.history; q.Oldest {
		if err := v.page(ctx, socket, &q, &answer); err != nil {
			return err
		}
	} else if err := socket.ask(ctx, http.MethodGet, q.Path(), &answer); err != nil {
		return err
	}
	if v.history {
		if err := v.show(answer); err != nil {
			return err
		}
		if len(answer.Records) == 0 && q.After == 0 && !v.follow {
			note(v.errOut, v.json, "nothing in the trace matches; it keeps the newest messages only")
		}
	}
	for q.Since = (time.Time{}); v.follow; {
		q.After, q.Wait = max(answer.Last, 1), 20*time.Second
		answer = trace.Answer{}
		err := socket.ask(ctx, http.MethodGet, q.Path(), &answer)
		if ctx.Err() != nil {
			return nil //nolint:nilerr // the user has interrupted it
		}
		if err != nil {
			return err
		}
		if answer.Lost {
			note(v.errOut, v.json, "some records were lost: more came than the trace keeps")
		}
		if err := v.show(answer); err != nil {
			return err
		}
	}
	return nil
}

// read shows the records of a file.
func (v *traceView) read(file string, f trace.Filter) error {
	shown := 0
	unread, err := trace.ReadFile(file, f, func(r *trace.Record) error {
		shown++
		return v.show(trace.Answer{Records: []trace.Record{*r}})
	})
	if unread > 0 {
		note(v.errOut, v.json, "lines that are no records: %d", unread)
	}
	if shown == 0 && err == nil {
		note(v.errOut, v.json, "nothing in the files matches")
	}
	return err
}

func (v *traceView) show(answer trace.Answer) error {
	for i := range answer.Records {
		r := &answer.Records[i]
		if v.packets != nil {
			if err := v.packets.Write(r); err != nil {
				return err
			}
			continue
		}
		if v.json {
			if err := writeJSON(v.out, r); err != nil {
				return err
			}
			continue
		}
		lines := v.ladder
		if r.Kind == trace.Octets {
			lines = wireLines
		}
		for _, line := range lines(r) {
			if _, err := fmt.Fprintln(v.out, v.painter.paint(recordColour(r), strings.TrimRight(line, " "))); err != nil {
				return err
			}
		}
		if v.raw && r.Message != "" {
			for line := range strings.Lines(readable(r.Message)) {
				fmt.Fprintln(v.out, "    "+printable(strings.TrimRight(line, "\n")))
			}
			if r.Cut > 0 {
				fmt.Fprintf(v.out, "    (%d more octets)\n", r.Cut)
			}
		}
	}
	return nil
}

// readable returns a message with each element on a line of its own, or as it is if it cannot be read.
func readable(message string) string {
	m, err := uacsta.Parse([]byte(message))
	if err != nil {
		return message
	}
	return m.Indented()
}

// The columns of the ladder, without those of its arrows.
const (
	timeColumn   = len("15:04:05.000 ")
	clientColumn = 12
	linkColumn   = 10
	narrowArrow  = 22 // so that the ladder has 80 columns
	wideArrow    = 44 // more is not easier to read
)

// arrowsOf returns how many columns an arrow has: what a terminal has room for.
func arrowsOf(out io.Writer) int {
	f, isFile := out.(*os.File)
	if !isFile {
		return narrowArrow
	}
	width, _, err := term.GetSize(int(f.Fd()))
	if err != nil {
		return narrowArrow
	}
	return max(narrowArrow, min(wideArrow, (width-timeColumn-clientColumn-linkColumn)/2))
}

// ladder returns the lines that show a record.
func (v *traceView) ladder(r *trace.Record) []string {
	client, proxy := r.Time.Local().Format("15:04:05.000 "), strings.Repeat(" ", timeColumn+clientColumn+v.arrow)
	client += column(cmp.Or(r.Identity, r.Front), clientColumn)
	toProxy := client + strings.Repeat(" ", v.arrow) + "|"
	note := r.Reason
	switch {
	case r.Kind == trace.State && r.Lane == trace.Client:
		client += " session " + r.Name + ": " + printable(r.Peer)
	case r.Kind == trace.State:
		client = toProxy + column(" link "+r.Name, v.arrow) + "| " + printable(r.Link)
	case r.Kind == trace.Decision && r.Allowed:
		client, note = toProxy+strings.TrimSuffix(" allowed: "+printable(strings.TrimPrefix(note, "allowed ")), ": "), ""
	case r.Kind == trace.Decision:
		client, note = toProxy+" refused: "+printable(note), ""
	case r.Lane == trace.Client:
		client += v.drawn(summary(r), r.Out) + "|"
	default:
		client = toProxy + v.drawn(summary(r), !r.Out) + "| " + printable(r.Link)
	}
	if note == "" {
		return []string{client}
	}
	return []string{client, proxy + "| " + printable(note)}
}

// recordColour returns the colour of a record.
func recordColour(r *trace.Record) colour {
	switch {
	case r.Failure():
		return bad
	case r.Kind == trace.Decision:
		return good
	case r.Kind == "event":
		return held
	}
	return uncoloured
}

// drawn draws the arrow of a message.
func (v *traceView) drawn(what string, toTheLeft bool) string {
	room := v.arrow - len("-- -->")
	what = column(what, min(room, utf8.RuneCountInString(what)))
	rest := strings.Repeat("-", room-utf8.RuneCountInString(what))
	if toTheLeft {
		return "<-- " + what + " " + rest + "-"
	}
	return "-- " + what + " " + rest + "->"
}

// column returns a text of exactly so many characters.
func column(text string, width int) string {
	text = cut(printable(text), width)
	return text + strings.Repeat(" ", width-utf8.RuneCountInString(text))
}

// summary returns what a message is, and which devices it names.
func summary(r *trace.Record) string {
	name := r.Name
	switch r.Kind {
	case "event":
		name = strings.TrimSuffix(name, "Event")
	case "response":
		name = "ok " + strings.TrimSuffix(strings.TrimSuffix(name, "Response"), "PosResponse")
	case "error", trace.Refusal:
		name = "refused"
	}
	return strings.TrimSpace(name + " " + strings.Join(r.Devices, " "))
}
