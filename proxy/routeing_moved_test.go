package proxy_test

import (
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tr87proxy/tr87proxy/audit"
	"github.com/tr87proxy/tr87proxy/proxy"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

// times returns how often the link was asked for a service.
func (f *flaky) times(name string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(slices.DeleteFunc(slices.Clone(f.asked), func(m *uacsta.Message) bool { return m.Name() != name }))
}

// registers is a link that takes registrations for routeing: r1, r2 and so on.
func registers() *flaky {
	n := 0
	return &flaky{lose: make(chan error), answers: answers{
		"RouteRegister": func(*uacsta.Message) (*uacsta.Message, error) {
			n++
			return uacsta.Encode(uacsta.RouteRegisterResponse{RouteRegisterReqID: fmt.Sprint("r", n)}, uacsta.Edition3), nil
		},
	}}
}

func routesOf(device string) uacsta.RouteRegister {
	d := uacsta.Dev(device)
	return uacsta.RouteRegister{RouteingDevice: &d}
}

// Of clients that leave while their requests are written to the audit file no registration stays at
// the link.
func TestRegistrationsOfThoseWhoLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, err := audit.Open(audit.Config{Path: filepath.Join(t.TempDir(), "audit"), Log: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		f := registers()
		p := start(t, f, demo, func(c *proxy.Config) { c.Audit = log })
		answered := 0
		for range 50 {
			s, _ := open(t, p, "a")
			s.Request(uacsta.Encode(routesOf("101"), uacsta.Edition3), func(*uacsta.Message) { answered++ })
			s.Close(errors.New("bye"))
			synctest.Wait()
		}
		registered, cancelled := f.times("RouteRegister"), f.times("RouteRegisterCancel")
		f.lose <- errors.New("lost")
		time.Sleep(time.Minute)
		synctest.Wait()
		if renewed := f.times("RouteRegister") - registered; answered != 50 || cancelled != registered || renewed > 0 {
			t.Errorf("of 50 registrations %d were answered, %d asked for, %d cancelled, and %d renewed after a loss", answered, registered, cancelled, renewed)
		}
		if err := log.Close(); err != nil {
			t.Fatal(err)
		}
	})
}
