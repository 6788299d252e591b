package desk

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/tr87proxy/tr87proxy/internal/config"
	"github.com/tr87proxy/tr87proxy/internal/kind"
	"github.com/tr87proxy/tr87proxy/internal/trace"
	"github.com/tr87proxy/tr87proxy/proxy"
	"github.com/tr87proxy/tr87proxy/sip/registrar"
)

// LinkKind is the kind of links to desk phones that register an account of their own for uaCSTA.
var LinkKind = kind.LinkOf[Settings]{
	Type: "phones", Check: check, Build: build, Devices: (*Settings).Numbers,
	Lacks: map[string]string{"addresses": "telephones come to listen"},
	Still: Settings.withoutPasswords, Live: livePasswords,
}.Kind()

// Settings has the keys of an entry of links in addition to those of config.Link.
type Settings struct {
	config.Listening

	Accounts []account `yaml:"accounts"`
}

// account is the account with which a desk phone registers for uaCSTA.
type account struct {
	Number       string `yaml:"number"`
	Contact      string `yaml:"contact"`
	User         string `yaml:"user"`
	Password     string `yaml:"password"`
	PasswordFile string `yaml:"password-file"`
}

// Numbers returns the numbers of the accounts.
func (l *Settings) Numbers() []string {
	numbers := make([]string, 0, len(l.Accounts))
	for _, a := range l.Accounts {
		numbers = append(numbers, a.Number)
	}
	return numbers
}

// UserOf returns the name of a number's account, or false if the number has none.
func (l *Settings) UserOf(number string) (name string, ok bool) {
	for _, a := range l.Accounts {
		if a.Number == number {
			return cmp.Or(a.User, a.Number), true
		}
	}
	return "", false
}

func (l Settings) withoutPasswords() Settings {
	l.Accounts = slices.Clone(l.Accounts)
	for i := range l.Accounts {
		l.Accounts[i].Password, l.Accounts[i].PasswordFile = "", ""
	}
	return l
}

func check(l *Settings, s *config.Section) {
	if len(l.Listen) == 0 {
		s.Fault("listen", "must say where telephones register, for example [{transport: udp, address: \"0.0.0.0:6060\"}]")
	}
	s.Listeners("listen", l.Listen, config.Listens{Transports: []string{"udp", "tcp", "tls"}, Port: "6060", TLSPort: "6061"})
	numbers := l.Numbers()
	for i, a := range l.Accounts {
		key := fmt.Sprintf("accounts[%d]", i)
		switch {
		case !config.ValidNumber(a.Number) || slices.Contains(numbers[:i], a.Number):
			s.Fault(key+".number", "must be 1 to 20 digits, * or #, and there once only")
		case a.Contact != "" && !strings.HasPrefix(a.Contact, "sip:") && !strings.HasPrefix(a.Contact, "sips:"):
			s.Fault(key+".contact", "must be where the telephone is, such as sip:201@192.0.2.7:5060;transport=udp")
		case a.Password != "" && a.PasswordFile != "", a.Password == "" && a.PasswordFile == "" && a.Contact == "":
			s.Fault(key, "write either password or password-file; or contact, of a telephone that does not register")
		}
	}
	if len(numbers) == 0 {
		s.Fault("accounts", "no telephone can register; write for example [{number: \"201\", password-file: 201.password}]")
	}
}

// users returns the accounts with their passwords.
func (l *Settings) users() ([]registrar.User, error) {
	var users []registrar.User
	for _, a := range l.Accounts {
		password, err := kind.Secret(a.Password, a.PasswordFile)
		if err != nil {
			return nil, err
		}
		users = append(users, registrar.User{Number: a.Number, Name: a.User, Password: password, Contact: a.Contact})
	}
	return users, nil
}

// livePasswords returns the passwords of the accounts, and a function that hands them to a running link.
func livePasswords(l *Settings, _ *kind.Env) (any, func(proxy.Link), error) {
	users, err := l.users()
	if err != nil {
		return nil, nil, err
	}
	return users, func(link proxy.Link) { link.(*Link).SetPasswords(users) }, nil
}

func build(l *Settings, env *kind.Env) (proxy.Link, error) {
	of := "telephones of " + env.Name
	cfg := registrar.Config{Log: env.Log, Qualify: 30 * time.Second, Admits: env.Admits, Guard: env.Guard(of), Refused: env.Refused(of), Trace: kind.TraceSIP(env.Octets.Tap(trace.Telephone, "", env.Name))}
	models, err := env.Models()
	if err != nil {
		return nil, err
	}
	cfg.Models = registrar.ModelsOf(models)
	if cfg.Users, err = l.users(); err != nil {
		return nil, err
	}
	var listen []Listening
	for i := range l.Listen {
		at := &l.Listen[i]
		one := Listening{Transport: at.Transport, Address: at.Address}
		if at.Transport == "tls" {
			if one.TLS, err = kind.ServerTLS(at, env.Log); err != nil {
				return nil, err
			}
		}
		listen = append(listen, one)
	}
	return New(cfg, listen), nil
}
