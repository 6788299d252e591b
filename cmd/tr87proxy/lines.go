package main

import (
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/tr87proxy/tr87proxy/config"
	"github.com/tr87proxy/tr87proxy/policy"
)

const maxLines = 1000000

// ownLines reads whose own devices are which: from the configuration, and from a file of
// identity and devices with commas between them. Devices are canonical in the result.
func ownLines(cfg config.Lines, numbers *policy.Numbers) (func(identity string) []string, error) {
	lines := map[string][]string{}
	add := func(who string, devices ...string) {
		who = strings.ToLower(strings.TrimSpace(who))
		for _, device := range devices {
			if device = strings.TrimSpace(device); device != "" {
				lines[who] = append(lines[who], numbers.Canonical(device))
			}
		}
	}
	for _, l := range cfg.Own {
		add(l.Who, l.Devices...)
	}
	own := func(identity string) []string { return lines[identity] }
	if cfg.File == "" {
		return own, nil
	}
	f, err := os.Open(cfg.File)
	if err != nil {
		return nil, fmt.Errorf("lines.file: %w", err)
	}
	defer func() { _ = f.Close() }()
	r := csv.NewReader(f)
	r.FieldsPerRecord, r.Comment, r.TrimLeadingSpace = -1, '#', true
	for n := 0; ; n++ {
		record, err := r.Read()
		switch {
		case errors.Is(err, io.EOF):
			return own, nil
		case err != nil:
			return nil, fmt.Errorf("%s: %w", cfg.File, err)
		case n == maxLines:
			return nil, fmt.Errorf("%s: more than %d lines", cfg.File, maxLines)
		}
		line, _ := r.FieldPos(0)
		if len(record) < 2 || strings.TrimSpace(record[0]) == "" || strings.TrimSpace(record[1]) == "" {
			return nil, fmt.Errorf("%s:%d: is not identity,device", cfg.File, line)
		}
		add(record[0], record[1:]...)
	}
}
