package media

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Limits of session descriptions from peers.
const (
	maxDescription = 1 << 16 // octets
	maxStreams     = 32
)

// session is a session description (RFC 8866) as far as we use it. Telephones leave out s= and t=, or write the
// lines in another order, so only v= is required, and m= begins a stream.
type session struct {
	origin     string // value of o=
	connection string // value of c=; "" for none
	attributes []attribute
	streams    []stream
}

// stream is an m= line with the lines that belong to it.
type stream struct {
	media, proto string
	port         uint16
	formats      []string
	connection   string // its own c= or that of the session; "" for none
	attributes   []attribute
}

// attribute is an a= line.
type attribute struct{ name, value string }

var errSyntax = errors.New("malformed session description")

// parse reads a session description. It ignores lines of unknown types and a missing end of the last line.
func parse(data []byte) (*session, error) {
	if len(data) > maxDescription {
		return nil, fmt.Errorf("%w: %d octets are more than %d", errSyntax, len(data), maxDescription)
	}
	s := &session{}
	first := true
	for line := range strings.Lines(string(data)) {
		line = strings.TrimRight(line, " \t\r\n")
		if line == "" {
			continue
		}
		name, value, ok := strings.Cut(line, "=")
		if !ok || len(name) != 1 || strings.ContainsFunc(value, func(c rune) bool { return c < ' ' && c != '\t' || c == 0x7f }) {
			return nil, fmt.Errorf("%w: %q", errSyntax, line)
		}
		if first != (name == "v") || first && value != "0" {
			return nil, fmt.Errorf("%w: it must begin with v=0", errSyntax)
		}
		first = false
		if err := s.line(name, value); err != nil {
			return nil, err
		}
	}
	if first {
		return nil, fmt.Errorf("%w: it is empty", errSyntax)
	}
	for i := range s.streams {
		if s.streams[i].connection == "" {
			s.streams[i].connection = s.connection
		}
	}
	return s, nil
}

// Profile returns the profile of the first stream of a session description, for the log; "" if it has none.
func Profile(data []byte) string {
	s, err := parse(data)
	if err != nil || len(s.streams) == 0 {
		return ""
	}
	return s.streams[0].proto
}

// line applies one line.
func (s *session) line(name, value string) error {
	connection, attributes := &s.connection, &s.attributes
	if n := len(s.streams); n > 0 {
		connection, attributes = &s.streams[n-1].connection, &s.streams[n-1].attributes
	}
	switch name {
	case "o":
		s.origin = value
	case "c":
		if *connection == "" {
			*connection = value
		}
	case "a":
		name, value, _ := strings.Cut(value, ":")
		*attributes = append(*attributes, attribute{name, strings.TrimSpace(value)})
	case "m":
		if len(s.streams) == maxStreams {
			return fmt.Errorf("%w: more than %d streams", errSyntax, maxStreams)
		}
		fields := strings.Fields(value)
		if len(fields) < 4 {
			return fmt.Errorf("%w: m=%s", errSyntax, value)
		}
		first, _, _ := strings.Cut(fields[1], "/") // of several ports
		port, err := strconv.ParseUint(first, 10, 16)
		if err != nil {
			return fmt.Errorf("%w: m=%s", errSyntax, value)
		}
		s.streams = append(s.streams, stream{media: fields[0], port: uint16(port), proto: fields[2], formats: fields[3:]})
	}
	return nil
}

// values returns the values of all attributes of a name.
func values(attributes []attribute, name string) (list []string) {
	for _, a := range attributes {
		if a.name == name {
			list = append(list, a.value)
		}
	}
	return list
}

// Direction is the direction of voice in a session description, as its writer sees it (RFC 3264
// 5.1).
type Direction string

// The directions.
const (
	SendRecv Direction = "sendrecv"
	SendOnly Direction = "sendonly"
	RecvOnly Direction = "recvonly"
	Inactive Direction = "inactive"
)

// direction returns the direction among attributes, or another without one.
func direction(attributes []attribute, otherwise Direction) Direction {
	for _, a := range attributes {
		if d := Direction(a.name); slices.Contains([]Direction{SendRecv, SendOnly, RecvOnly, Inactive}, d) {
			return d
		}
	}
	return otherwise
}

// Sends reports whether the writer sends.
func (d Direction) Sends() bool { return d == SendRecv || d == SendOnly }

// Hears reports whether the writer receives.
func (d Direction) Hears() bool { return d == SendRecv || d == RecvOnly }

// reverse returns the direction as the other side sees it.
func (d Direction) reverse() Direction {
	switch d {
	case SendOnly:
		return RecvOnly
	case RecvOnly:
		return SendOnly
	}
	return d
}

// both returns the direction common to two directions.
func both(a, b Direction) Direction {
	sends, hears := a.Sends() && b.Sends(), a.Hears() && b.Hears()
	switch {
	case sends && hears:
		return SendRecv
	case sends:
		return SendOnly
	case hears:
		return RecvOnly
	}
	return Inactive
}
