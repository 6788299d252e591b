package link

import (
	"fmt"
	"regexp"
	"slices"
	"time"

	"github.com/tr87proxy/tr87proxy/internal/config"
	"github.com/tr87proxy/tr87proxy/internal/kind"
	"github.com/tr87proxy/tr87proxy/internal/share"
	"github.com/tr87proxy/tr87proxy/proxy"
)

// Kind is the kind of link to the ports of cards behind ctserver.
var Kind = kind.LinkOf[Settings]{Type: "ctserver", Check: check, Build: build, Devices: (*Settings).numbers}.Kind()

// Settings are the settings of an entry under links, beside those of config.Link.
type Settings struct {
	kind.Peer
	kind.Times

	Ports []struct {
		Number  string `yaml:"number"`
		Port    int    `yaml:"port"`
		Address string `yaml:"address"`
	} `yaml:"ports"`
	Manager string `yaml:"manager"`
	Flash   struct {
		Hold       string `yaml:"hold"`
		Retrieve   string `yaml:"retrieve"`
		Consult    string `yaml:"consult"`
		Alternate  string `yaml:"alternate"`
		Reconnect  string `yaml:"reconnect"`
		Conference string `yaml:"conference"`
	} `yaml:"flash"`
	AnswerTime time.Duration `yaml:"answer-time"`
	RingTime   time.Duration `yaml:"ring-time"`
	CallerTime time.Duration `yaml:"caller-id-time"`
}

// numbers returns the numbers of the ports.
func (l *Settings) numbers() []string {
	numbers := make([]string, 0, len(l.Ports))
	for _, p := range l.Ports {
		numbers = append(numbers, p.Number)
	}
	return numbers
}

var flashCode = regexp.MustCompile(`^[&,0-9*#]{0,20}$`)

func check(l *Settings, s *config.Section) {
	if len(l.Addresses) != 1 || !kind.PlainHost(l.Addresses[0]) {
		s.Fault("addresses", "must name one host, without port, such as [\"10.1.1.9\"]: card port n is reached at TCP 1199+n")
	}
	numbers := l.numbers()
	for i, p := range l.Ports {
		key := fmt.Sprintf("ports[%d]", i)
		if !config.ValidNumber(p.Number) || slices.Contains(numbers[:i], p.Number) {
			s.Fault(key+".number", "must be 1 to 20 digits, * or #, and there once only")
		}
		if p.Port < 1 || p.Port > 1000 {
			s.Fault(key+".port", "must be the number of the card port, from 1 on")
		}
		if p.Address != "" && !kind.HostPort(p.Address) {
			s.Fault(key+".address", "is neither host nor host:port; write for example 10.1.1.10")
		}
	}
	if len(numbers) == 0 {
		s.Fault("ports", "must say which card ports there are, such as [{number: \"201\", port: 1}]")
	}
	if l.Manager != "" && !kind.HostPort(l.Manager) {
		s.Fault("manager", "is neither host nor host:port; write for example 10.1.1.9:1198")
	}
	for name, code := range map[string]string{"hold": l.Flash.Hold, "retrieve": l.Flash.Retrieve, "consult": l.Flash.Consult, "alternate": l.Flash.Alternate, "reconnect": l.Flash.Reconnect, "conference": l.Flash.Conference} {
		if !flashCode.MatchString(code) {
			s.Fault("flash."+name, "may hold digits, * and #, & for a hook flash and , for a pause; write for example \"&2\"")
		}
	}
	s.NotNegative(map[string]time.Duration{"answer-time": l.AnswerTime, "ring-time": l.RingTime, "caller-id-time": l.CallerTime})
	l.Times.Check(s)
}

func build(l *Settings, env *kind.Env) (proxy.Link, error) {
	cfg := Config{
		Address: l.Addresses[0], Manager: l.Manager, Flash: Flash(l.Flash), AnswerTime: l.AnswerTime, RingTime: l.RingTime, CallerTime: l.CallerTime,
		Timeout: l.Timeout, Heartbeat: l.Heartbeat, Log: share.Quiet(env.Log), Tap: env.Tap(),
	}
	for _, p := range l.Ports {
		cfg.Ports = append(cfg.Ports, Port(p))
	}
	return New(cfg), nil
}
