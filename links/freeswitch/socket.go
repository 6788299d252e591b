package freeswitch

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/url"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/tr87proxy/tr87proxy/internal/gate"
	"github.com/tr87proxy/tr87proxy/internal/trace"
)

// Limits of the event socket.
const (
	maxHeaders = 64 << 10  // octets of the headers of a message or event
	maxValue   = 512       // octets kept of one header
	maxBody    = 256 << 10 // octets of a body that is read whole
	maxList    = 128 << 20 // octets of a list, which is read row by row
	maxWaiting = 1000      // commands without reply
	maxWritten = 4 << 20   // unsent octets of commands
)

// Errors of the event socket.
var (
	errLong    = errors.New("event socket message too long")
	errBroken  = errors.New("not an event socket message")
	errRefused = errors.New("FreeSWITCH refuses")
	errHungUp  = errors.New("FreeSWITCH closed the connection")
	errDenied  = fmt.Errorf("%w: permission denied", errRefused)
	errNothing = fmt.Errorf("%w: no reply", errRefused)
)

// message is a message of the event socket: headers, and a body if there is a length.
type message struct {
	headers map[string]string
	length  int
	body    string
}

// readMessage reads a message.
func readMessage(r *bufio.Reader) (*message, error) {
	m, err := readHead(r)
	if err == nil {
		err = m.readBody(r)
	}
	return m, err
}

// readHead reads the headers of a message.
func readHead(r *bufio.Reader) (*message, error) {
	headers, err := readHeaders(r, false)
	if err != nil {
		return nil, err
	}
	m := &message{headers: headers}
	if text, ok := headers["Content-Length"]; ok {
		if m.length, err = strconv.Atoi(text); err != nil || m.length < 0 {
			return nil, errBroken
		}
	}
	return m, nil
}

// readBody reads the body of a message after its headers.
func (m *message) readBody(r io.Reader) error {
	if m.length > maxBody {
		return errLong
	}
	body := make([]byte, m.length)
	_, err := io.ReadFull(r, body)
	m.body = string(body)
	return err
}

// wanted lists the headers that the link reads. An event has about a hundred; the others are
// discarded.
var wanted = func() map[string]bool {
	names := map[string]bool{}
	for name := range strings.FieldsSeq(`Content-Type Content-Length Reply-Text Event-Name Event-Subclass Unique-ID Other-Leg-Unique-ID Bridge-A-Unique-ID
		Bridge-B-Unique-ID Job-UUID Call-Direction Channel-Presence-ID Caller-Caller-ID-Number Caller-Destination-Number Caller-RDNIS Hangup-Cause
		variable_sip_call_id variable_sip_gateway variable_sip_gateway_name variable_transfer_disposition variable_transfer_destination variable_refer_uuid
		variable_originate_failed_cause variable_sip_term_status variable_last_bridge_hangup_cause variable_csta_call variable_csta_waits_for
		variable_loopback_leg variable_other_loopback_from_uuid variable_other_loopback_leg_uuid DTMF-Digit
		Playback-File-Path Playback-Status Record-File-Path Record-Completion-Cause Application-Data Application-Response
		CC-Action CC-Cancel-Reason CC-Member-Session-UUID variable_cc_member_session_uuid CC-Queue FIFO-Action FIFO-Name Action Valet-Extension Conference-Name
		Queue Trunk From To Reason Gateway State Ping-Status from-user from-host user host user-agent profile-name profile_name call-id ringCount
		Feature-Action Feature-Enabled Action-Name Action-Value MWI-Message-Account MWI-Messages-Waiting`) {
		names[name] = true
	}
	return names
}()

// readHeaders reads lines up to an empty one and skips leading empty lines. The headers of
// events are URL-encoded (escaped).
func readHeaders(r *bufio.Reader, escaped bool) (map[string]string, error) {
	headers, size, begun := map[string]string{}, 0, false
	for {
		slice, err := r.ReadSlice('\n')
		if errors.Is(err, bufio.ErrBufferFull) {
			return nil, errLong
		}
		if err != nil {
			return headers, err
		}
		line := string(slice)
		if size += len(line); size > maxHeaders {
			return nil, errLong
		}
		line = strings.TrimRight(line, "\r\n")
		if line == "" {
			if begun {
				return headers, nil
			}
			continue
		}
		begun = true
		key, value, found := strings.Cut(line, ": ")
		if !found {
			key, value = strings.TrimSuffix(line, ":"), ""
		}
		if !wanted[key] {
			continue
		}
		if escaped {
			if plain, err := url.PathUnescape(value); err == nil {
				value = plain
			}
		}
		headers[key] = legible(value)
	}
}

// legible returns text that XML can carry, of limited length. Control characters, noncharacters
// and invalid UTF-8 become U+FFFD.
func legible(text string) string {
	if len(text) > maxValue {
		text = strings.Clone(text[:maxValue])
	}
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || r == 0xFFFE || r == 0xFFFF {
			return unicode.ReplacementChar
		}
		return r
	}, text)
}

// event parses the event in a message of type text/event-plain.
func (m *message) event() (event, error) {
	r := bufio.NewReaderSize(strings.NewReader(m.body+"\n"), min(len(m.body), maxHeaders)+1)
	headers, err := readHeaders(r, true)
	if err != nil && !errors.Is(err, io.EOF) {
		return event{}, err
	}
	rest, _ := io.ReadAll(io.LimitReader(r, maxValue)) // reading a string does not fail
	return event{headers, strings.TrimSpace(string(rest))}, nil
}

// event is an event of FreeSWITCH.
type event struct {
	headers map[string]string
	body    string
}

func (e event) get(name string) string { return e.headers[name] }

// socket is a connection to the event socket. Replies arrive in the order of commands.
type socket struct {
	*gate.Commands[*command]
	input   *trace.Input
	in      *bufio.Reader // of input
	timeout time.Duration
	event   func(event)
	greeted chan struct{} // has a value once FreeSWITCH has asked for the password
}

// command is a command that awaits its reply.
type command struct {
	list func(io.Reader) error // reads a list from the reply as it arrives; nil for other replies
	done func(reply string, err error)
}

func newSocket(nc net.Conn, timeout time.Duration, log *slog.Logger, tap *trace.Tap, event func(event)) *socket {
	limits := gate.Limits{Log: log, MaxOutstanding: maxWaiting, QueueLength: maxWaiting, QueueOctets: maxWritten, WriteTime: timeout, Tap: tap.On("event-socket", nc, conceal)}
	input := limits.Tap.Input(nc)
	return &socket{
		Commands: gate.NewCommands(nc, limits, 0, func(c *command, err error) { c.done("", err) }),
		input:    input, in: bufio.NewReaderSize(input, maxHeaders), timeout: timeout, event: event, greeted: make(chan struct{}, 1),
	}
}

// send sends a command, which may have headers and a body. done is called with the reply, or
// with an error: FreeSWITCH's refusal, or why the connection ended. It is not called if send
// itself returns an error.
func (s *socket) send(text string, done func(reply string, err error)) error {
	return s.give(text, &command{done: done}, false)
}

// give sends a command that may have a list as reply. probe marks a command that keeps the
// connection alive.
func (s *socket) give(text string, c *command, probe bool) error {
	name, _, _ := strings.Cut(text, " ")
	if !strings.Contains(text, "\n\n") { // without body
		text += "\n\n"
	}
	return s.Give(gate.Command[*command]{Is: c, Name: name, Frame: []byte(text), Timeout: s.timeout, Probe: probe})
}

// login sends the command with the password. FreeSWITCH closes the connection right after a
// refusal; login makes the refusal the reason.
func (s *socket) login(ctx context.Context, command string) error {
	_, err := s.await(ctx, command, func(err error) {
		if errors.Is(err, errRefused) {
			s.Close(errors.New("FreeSWITCH refuses the password (session.password-file)"))
		}
	})
	return err
}

// ask sends a command that keeps the connection alive and waits for its reply.
func (s *socket) ask(ctx context.Context, text string) (string, error) {
	return s.await(ctx, text, func(error) {})
}

// await is ask, but calls first with the result before anything that follows is read.
func (s *socket) await(ctx context.Context, text string, first func(error)) (string, error) {
	type answer struct {
		reply string
		err   error
	}
	answered := make(chan answer, 1)
	if err := s.give(text, &command{done: func(reply string, err error) {
		first(err)
		answered <- answer{reply, err}
	}}, true); err != nil {
		return "", err
	}
	select {
	case a := <-answered:
		return a.reply, a.err
	case <-ctx.Done():
		return "", ctx.Err()
	}
}

// read reads messages until the connection fails and returns the reason.
func (s *socket) read() error {
	for {
		err := s.readOne()
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			err = errHungUp
		}
		if err != nil {
			return err
		}
	}
}

// readOne reads and handles one message.
func (s *socket) readOne() error {
	m, err := readHead(s.in)
	if err != nil {
		return err
	}
	if c := s.lists(m); c != nil {
		if first, _ := s.in.Peek(1); len(first) > 0 && first[0] != '-' { // not a refusal
			return s.readList(c, m.length)
		}
	}
	if err := m.readBody(s.in); err != nil {
		return err
	}
	s.input.Keep(s.in, false)
	return s.take(m)
}

// lists returns the command to which the message is a list reply, or nil.
func (s *socket) lists(m *message) *command {
	c, waits := s.First()
	if m.headers["Content-Type"] != "api/response" || m.length == 0 || !waits || c.list == nil {
		return nil
	}
	return c
}

// readList passes a list reply to its command as it arrives. Progress extends the command's
// timeout.
func (s *socket) readList(c *command, length int) error {
	if length > maxList {
		return errLong
	}
	body := reading{io.LimitReader(s.in, int64(length)), func() { s.Wait(s.timeout) }}
	if err := c.list(body); err != nil {
		return err
	}
	if _, err := io.Copy(io.Discard, body); err != nil {
		return err
	}
	s.input.Keep(s.in, false)
	return s.reply("")
}

// reading is a reader that calls more after reading something.
type reading struct {
	io.Reader
	more func()
}

func (r reading) Read(p []byte) (int, error) {
	n, err := r.Reader.Read(p)
	if n > 0 {
		r.more()
	}
	return n, err
}

func (s *socket) take(m *message) error {
	switch m.headers["Content-Type"] {
	case "auth/request":
		select {
		case s.greeted <- struct{}{}:
		default: // asked before
		}
	case "command/reply":
		return s.reply(m.headers["Reply-Text"])
	case "api/response":
		return s.reply(m.body)
	case "text/event-plain":
		e, err := m.event()
		if err != nil {
			return err
		}
		s.event(e)
	case "text/disconnect-notice":
		return errors.New("FreeSWITCH announced the end of the connection")
	case "text/rude-rejection":
		return errors.New("FreeSWITCH does not admit this address: see acl in its event_socket.conf.xml")
	}
	return nil
}

// reply passes a reply to the oldest command.
func (s *socket) reply(text string) error {
	c, waits := s.Replied()
	if !waits {
		return fmt.Errorf("%w: reply without a command", errBroken)
	}
	text = strings.TrimSpace(text)
	why, refused := strings.CutPrefix(text, "-ERR")
	if !refused { // an unknown command
		why, refused = strings.CutPrefix(text, "-USAGE")
	}
	switch why = strings.TrimSpace(why); {
	case !refused:
		c.done(text, nil)
	case why == "permission denied": // to the user of the event socket
		c.done("", errDenied)
	case why == "no reply":
		c.done("", errNothing)
	default:
		c.done("", fmt.Errorf("%w: %.100q", errRefused, why))
	}
	return nil
}
