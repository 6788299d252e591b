package main

import (
	"bufio"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tr87proxy/tr87proxy/internal/capture"
	"github.com/tr87proxy/tr87proxy/uacsta"
	"github.com/tr87proxy/tr87proxy/wire/asn1"
)

func decodeCommand() *cobra.Command {
	var file string
	cmd := &cobra.Command{
		Use: "decode [HEX...]", Short: "Show recorded CSTA in ASN.1 or CSTA-XML, and captures, as readable XML", GroupID: "server", Args: cobra.ArbitraryArgs,
		Long: `decode shows recorded octets as readable XML: PDUs of CSTA Phase III and Phase I, with or
without their frame, and frames of CSTA-XML over TCP. It reads hexadecimal digits, with or
without blanks, or a dump of hexdump -C, xxd, tcpdump -x or Wireshark, in which it skips IP
and TCP headers. It masks passwords.

Of a capture file, pcap or pcapng, it shows the messages of SIP over UDP and TCP, of CSTA-XML and of
CSTA in ASN.1 over TCP, with time and direction: each as soon as its last segment is there. TLS and
WebSocket cannot be read; tr87proxy trace --pcap writes captures that have them decrypted.

Without arguments it reads standard input:
  tcpdump -U -w - port 18000 | tr87proxy decode`,
		Example: `  tr87proxy decode 26 80 0E A1 0C 02 01 02 02 01 49 30 04 55 02 00 01
  tr87proxy decode --file dump.txt
  tr87proxy decode --file capture.pcapng`,
		RunE: func(cmd *cobra.Command, args []string) error {
			text := strings.Join(args, " ")
			if len(args) == 0 {
				in := bufio.NewReader(cmd.InOrStdin())
				if file != "" {
					f, err := os.Open(file)
					if err != nil {
						return err
					}
					defer func() { _ = f.Close() }()
					in.Reset(f)
				}
				if begin, _ := in.Peek(4); capture.Captured(begin) {
					return decodeCapture(cmd, in)
				}
				data, err := readDump(in)
				if err != nil {
					return err
				}
				text = string(data)
			}
			packets, err := octetsOf(text)
			if err != nil {
				if _, missing := os.Stat(text); missing == nil {
					err = fmt.Errorf("%w; to read the file of this name, write --file %s", err, text)
				}
				return usageError{err}
			}
			return showPackets(cmd, packets)
		},
	}
	cmd.Flags().StringVar(&file, "file", "", "read this file instead of standard input")
	return cmd
}

const maxDump = 16 << 20

func readDump(in io.Reader) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(in, maxDump+1))
	if len(data) > maxDump {
		return nil, errors.New("the dump is longer than 16 MiB")
	}
	return data, err
}

var (
	// dumpLine matches a line of a dump: offset, octets, and perhaps the octets as text.
	dumpLine = regexp.MustCompile(`^\s*(?:0x)?([0-9A-Fa-f]{4,8}):?\s+((?:[0-9A-Fa-f]{2,4}(?: {1,2}|$))+)`)
	hexOnly  = regexp.MustCompile(`^[0-9A-Fa-f\s:,]*$`)
	blanks   = regexp.MustCompile(`[\s:,]+`)
)

// octetsOf parses hexadecimal digits, or a dump. In a dump each offset 0 begins a packet.
func octetsOf(text string) ([][]byte, error) {
	if !dumped(text) {
		if !hexOnly.MatchString(text) {
			return nil, errors.New("neither hexadecimal digits nor a dump")
		}
		data, err := hex.DecodeString(blanks.ReplaceAllString(text, ""))
		if err != nil {
			return nil, fmt.Errorf("not hexadecimal digits: %w", err)
		}
		return [][]byte{data}, nil
	}
	var packets [][]byte
	for line := range strings.Lines(text) {
		m := dumpLine.FindStringSubmatch(strings.TrimRight(line, "\r\n"))
		if m == nil {
			continue // times and addresses between packets
		}
		data, err := hex.DecodeString(strings.ReplaceAll(m[2], " ", ""))
		if err != nil {
			continue // text that looks like digits
		}
		if len(packets) == 0 || strings.Trim(m[1], "0") == "" {
			packets = append(packets, nil)
		}
		last := len(packets) - 1
		packets[last] = append(packets[last], data...)
	}
	for i, p := range packets {
		packets[i] = payload(p)
	}
	return packets, nil
}

// dumped reports whether a text is a dump: one of its lines has the offset 0.
func dumped(text string) bool {
	for line := range strings.Lines(text) {
		if m := dumpLine.FindStringSubmatch(strings.TrimRight(line, "\r\n")); m != nil && strings.Trim(m[1], "0") == "" {
			return true
		}
	}
	return false
}

// payload returns a packet without headers of Ethernet, IP and TCP.
func payload(p []byte) []byte {
	if len(p) > 14 && (binary.BigEndian.Uint16(p[12:]) == 0x0800 || binary.BigEndian.Uint16(p[12:]) == 0x86DD) {
		p = p[14:]
	}
	var header int
	switch {
	case len(p) >= 40 && p[0]>>4 == 4 && p[9] == 6 && int(binary.BigEndian.Uint16(p[2:])) <= len(p):
		p = p[:binary.BigEndian.Uint16(p[2:])] // the rest is padding
		header = int(p[0]&0xF) * 4
	case len(p) >= 60 && p[0]>>4 == 6 && p[6] == 6:
		header = 40
	default:
		return p
	}
	if header+13 > len(p) {
		return nil
	}
	header += int(p[header+12]>>4) * 4
	return p[min(header, len(p)):]
}

// decoded is a message of a recording.
type decoded struct {
	Time  time.Time `json:"time,omitzero"` // in a capture; so are the addresses
	From  string    `json:"from,omitempty"`
	To    string    `json:"to,omitempty"`
	What  string    `json:"what"` // such as SIP, or CSTA-XML, invoke 0001
	Text  string    `json:"text"` // as readable XML, below the header of SIP
	Notes []string  `json:"notes,omitempty"`
}

// showPackets writes the messages of packets, up to the first one of each packet that cannot be read.
func showPackets(cmd *cobra.Command, packets [][]byte) error {
	var faults []error
	shown := 0
	for i, p := range packets {
		if len(p) == 0 {
			continue // such as an acknowledgement
		}
		shown++
		messages, err := decodePacket(p)
		if err != nil {
			faults = append(faults, fmt.Errorf("packet %d: %w", i+1, err))
		}
		for _, d := range messages {
			if err := write(cmd, d, d.text); err != nil {
				return err
			}
		}
	}
	if shown == 0 {
		return usageError{errors.New("nothing to decode")}
	}
	return errors.Join(faults...)
}

// text writes a message for people.
func (d *decoded) text(out io.Writer) error {
	fmt.Fprintf(out, "<!-- %s%s -->\n", d.passed(), printable(d.What))
	for line := range strings.Lines(d.Text) {
		fmt.Fprintln(out, printable(strings.TrimRight(line, "\n")))
	}
	for _, note := range d.Notes {
		fmt.Fprintf(out, "<!-- %s -->\n", printable(note))
	}
	return nil
}

// decodePacket returns the messages of a packet before the first one that cannot be read, and an error for that one.
func decodePacket(p []byte) (list []decoded, err error) {
	for len(p) > 8 && p[0] == 0 && p[1] == 0 {
		length := int(binary.BigEndian.Uint16(p[2:]))
		if length <= 8 || length > len(p) || p[8] != '<' {
			break
		}
		m, err := uacsta.Parse(uacsta.Conceal(p[8:length]))
		if err != nil {
			return list, err
		}
		list = append(list, decoded{What: "CSTA-XML, invoke " + string(p[4:8]), Text: m.Indented()})
		p = p[length:]
	}
	if len(p) == 0 {
		return list, nil
	}
	described, err := describedIn(p)
	return append(list, described...), err
}

// describedIn returns the PDUs of CSTA in ASN.1 before the first one that cannot be read, and an error for that one.
func describedIn(p []byte) (list []decoded, err error) {
	described, err := asn1.Describe(p)
	for _, d := range described {
		list = append(list, decoded{What: fmt.Sprintf("%s, %s", d.Phase, d.What), Text: d.XML, Notes: d.Notes})
	}
	return list, err
}
