package main

import (
	"os"
	"regexp"
	"slices"
	"testing"

	"github.com/tr87proxy/tr87proxy/uacsta"
)

// The page of a request in docs/csta has a command if a command sends it.
func TestCommandsOnPages(t *testing.T) {
	names := regexp.MustCompile(`\buacsta\.([A-Z]\w+)\b`)
	var sent []string
	for _, file := range []string{"commands.go", "services.go", "features.go", "devices.go", "monitor.go", "route.go", "voice.go"} {
		source, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range names.FindAllSubmatch(source, -1) {
			sent = append(sent, string(m[1]))
		}
	}
	command := regexp.MustCompile(`(?m)^tr87proxy `)
	count := 0
	for _, name := range uacsta.Names() {
		if !uacsta.IsRequest(name) || name == uacsta.NameSwitchingFunctionDevices { // which a command reads
			continue
		}
		page, err := os.ReadFile("../../docs/csta/" + name + ".md")
		if err != nil {
			t.Error(err)
			continue
		}
		shown, known := command.Match(page), slices.Contains(sent, name)
		if count++; shown != known {
			t.Errorf("%s: a command on the page: %v, in the program: %v; see commands in uacsta/document.go", name, shown, known)
		}
	}
	if count < 130 {
		t.Errorf("only %d pages", count)
	}
}
