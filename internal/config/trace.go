package config

import (
	"fmt"
	"math"
	"net"
	"strconv"
	"strings"
)

// Trace is the key trace.
type Trace struct {
	MaxMiB    int `yaml:"max-mib"`    // 0: no trace
	Records   int `yaml:"records"`    // also of octets
	OctetsMiB int `yaml:"octets-mib"` // 0: no octets
	HEP       HEP `yaml:"hep"`

	File    string `yaml:"file"`     // "": none
	FileMiB int    `yaml:"file-mib"` // at which the next file begins
	Keep    int    `yaml:"keep"`     // older files
}

// HEP is the key trace.hep.
type HEP struct {
	Address      string `yaml:"address"` // udp:host:port; "": nothing is exported
	ID           int    `yaml:"id"`
	Node         string `yaml:"node"`
	PasswordFile string `yaml:"password-file"`
}

// Homer returns host:port of Homer; "" if there is none.
func (h *HEP) Homer() string { return strings.TrimPrefix(h.Address, "udp:") }

// leastRecords is the smallest trace.records.
const leastRecords = 100

// mostKept is how many older files trace.keep may name.
const mostKept = 1000

// check reports faults of the key.
func (t *Trace) check(d *document) {
	if t.MaxMiB < 0 || t.MaxMiB > maxMiB {
		d.fault("trace.max-mib", fmt.Sprintf("must be a number of MiB; write 1 to %d, or 0 for no trace", maxMiB))
	}
	if t.OctetsMiB < 0 || t.OctetsMiB > maxMiB {
		d.fault("trace.octets-mib", fmt.Sprintf("must be a number of MiB; write 1 to %d, or 0 for no octets", maxMiB))
	}
	if t.FileMiB < 1 || t.FileMiB > maxMiB {
		d.fault("trace.file-mib", fmt.Sprintf("must be a number of MiB; write 1 to %d", maxMiB))
	}
	if t.Keep < 0 || t.Keep > mostKept {
		d.fault("trace.keep", fmt.Sprintf("must be a number of files; write 0 to %d", mostKept))
	}
	if t.File != "" && t.MaxMiB == 0 {
		d.fault("trace.file", "needs the trace; write for example max-mib: 8 under trace")
	}
	if h := &t.HEP; h.Address != "" {
		host, port, err := net.SplitHostPort(h.Homer())
		if number, notNumber := strconv.ParseUint(port, 10, 16); err != nil || notNumber != nil || number == 0 || host == "" || !strings.HasPrefix(h.Address, "udp:") {
			d.fault("trace.hep.address", "is not udp:host:port; write for example udp:homer.example:9060")
		}
		if t.OctetsMiB == 0 {
			d.fault("trace.hep.address", "needs the octets; write for example octets-mib: 8 under trace")
		}
		if h.ID < 0 || h.ID > math.MaxUint32 {
			d.fault("trace.hep.id", "must be a number of 32 bits")
		}
		if len(h.Node) > 255 {
			d.fault("trace.hep.node", "must have at most 255 octets")
		}
	}
	if t.Records < leastRecords {
		d.fault("trace.records", fmt.Sprintf("must be at least %d; write 0 as trace.max-mib for no trace", leastRecords))
	}
}
