package daemon

import (
	"cmp"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"

	"github.com/tr87proxy/tr87proxy/internal/config"
	"github.com/tr87proxy/tr87proxy/internal/kind"
	"github.com/tr87proxy/tr87proxy/internal/trace"
	"github.com/tr87proxy/tr87proxy/links/desk"
	"github.com/tr87proxy/tr87proxy/sip/registrar"
	"github.com/tr87proxy/tr87proxy/softswitch/media"
	"github.com/tr87proxy/tr87proxy/softswitch/phones"
	"github.com/tr87proxy/tr87proxy/tls"
)

// telephones makes the server of real telephones and trunks, and of the voice of all calls, or nil if there are neither
// telephones nor messages. With readOnly it has no state file.
func (n *Node) telephones(cfg *config.Config, readOnly bool) (*phones.Server, error) {
	t := &cfg.Telephones
	if len(t.Listen) == 0 && t.Messages == "" {
		return nil, nil //nolint:nilnil // none is no fault
	}
	first, last, err := t.Media.PortRange()
	if err != nil {
		return nil, err
	}
	elsewhere, err := t.Media.Networks()
	if err != nil {
		return nil, err
	}
	out := phones.Config{
		Switch: n.sw, Numbers: n.numbers.Load,
		Telephones: registrar.Config{
			Realm: t.Realm, Digest: t.Digest, Advertise: t.Advertise, Log: n.log, Trace: kind.TraceSIP(n.octets.Tap(trace.Telephone, "telephones", "")),
			Guard: n.guard("telephones"), Refused: n.notBelieved("telephones"), Admits: n.admits,
			MinExpires: t.MinExpires, MaxExpires: t.MaxExpires, Qualify: t.Qualify, MaxContacts: t.MaxContacts,
		},
		State: t.State, RingsOn: !t.DeclineAll, Music: t.Music, Announcement: t.Announcement, Messages: t.Messages, MaxRecorded: t.MaxRecording,
		Media: media.Config{MinPort: first, MaxPort: last, Timeout: t.Media.Timeout, Elsewhere: elsewhere},
	}
	if readOnly {
		out.State = ""
	}
	out.Media.Address, _ = netip.ParseAddr(t.Media.Address) // checked by config; without one, that of the first listener
	out.Media.Advertise, _ = netip.ParseAddr(t.Media.Advertise)
	if !out.Media.Address.IsValid() && len(t.Listen) > 0 {
		out.Media.Address = mediaAddress(t.Listen)
	}
	models, err := config.Models(t.Models)
	if err != nil {
		return nil, err
	}
	out.Telephones.Models = registrar.ModelsOf(models)
	if out.Telephones.Users, err = telephoneUsers(cfg); err != nil {
		return nil, err
	}
	out.Encryption = map[string]media.Encryption{}
	for _, e := range cfg.Switch.Extensions {
		if e.SIP != nil {
			out.Encryption[e.Number] = encryption[e.SIP.SRTP]
		}
	}
	for _, trunk := range cfg.Switch.Trunks {
		p := trunk.SIP
		if p == nil {
			continue
		}
		password, err := kind.Secret(p.Password, p.PasswordFile)
		if err != nil {
			return nil, err
		}
		out.Encryption[trunk.Number] = encryption[p.SRTP]
		out.Trunks = append(out.Trunks, phones.Trunk{
			Number: trunk.Number, Peer: p.URI, Name: p.User, Password: password, Register: p.Register, From: p.From, Qualify: cmp.Or(p.Qualify, t.Qualify),
			CalledFrom: strings.ToLower(p.CalledFrom), CallerFrom: p.CallerFrom, Shows: p.Shows, Numbers: networkNumbers(trunk.Inward), SiteNumber: p.SiteNumber,
		})
	}
	source, err := tls.NewClient(tls.Files{Log: n.log})
	if err != nil {
		return nil, err
	}
	out.Telephones.TLSClient = source.Config()
	return phones.New(out)
}

// networkNumbers returns for each device the first number of the network that leads to it.
func networkNumbers(inward []config.Inward) map[string]string {
	numbers := map[string]string{}
	for _, in := range inward {
		if numbers[in.To] == "" {
			numbers[in.To] = in.Number
		}
	}
	return numbers
}

// encryption has the values of the keys srtp.
var encryption = map[string]media.Encryption{"": media.Preferred, "preferred": media.Preferred, "accepted": media.Accepted, "required": media.Required, "dtls": media.DTLS}

// telephoneUsers returns the accounts of extensions, with their passwords.
func telephoneUsers(cfg *config.Config) ([]registrar.User, error) {
	var users []registrar.User
	for i, e := range cfg.Switch.Extensions {
		if e.SIP == nil {
			continue
		}
		password, err := kind.Secret(e.SIP.Password, e.SIP.PasswordFile)
		if err != nil {
			return nil, atKey(cfg, fmt.Sprintf("switch.extensions[%d].sip.password-file", i), err)
		}
		users = append(users, registrar.User{Number: e.Number, Name: e.SIP.User, Password: password, Talks: e.SIP.Talk, UACSTA: e.SIP.UACSTA})
	}
	return users, nil
}

// PlaceOf returns where the telephone of a number registers. own says that it does so with an account of its own at a
// link of type phones, and not with its line at the built-in switch. The server is "" if the configuration does not name
// its address.
func PlaceOf(cfg *config.Config, number string) (place config.Place, own bool, err error) {
	for _, e := range cfg.Switch.Extensions {
		if e.Number == number && e.SIP != nil {
			server, port := addressOf(cfg.Telephones.Listen)
			return config.Place{Number: number, User: cmp.Or(e.SIP.User, number), Server: cmp.Or(cfg.Telephones.Advertise, server), Port: port}, false, nil
		}
	}
	for _, l := range cfg.Links {
		if settings, ok := l.Settings.(*desk.Settings); ok {
			if user, ok := settings.UserOf(number); ok {
				server, port := addressOf(settings.Listen)
				return config.Place{Number: number, User: user, Server: server, Port: port}, true, nil
			}
		}
	}
	have := "the configuration has none"
	if numbers := TelephoneNumbers(cfg); len(numbers) > 0 {
		have = "the configuration has " + strings.Join(numbers[:min(len(numbers), 10)], ", ")
		if len(numbers) > 10 {
			have += " ..."
		}
	}
	return config.Place{}, false, fmt.Errorf("%s is neither an extension with the key sip nor an account of a link of type phones; %s", number, have)
}

// TelephoneNumbers returns the numbers of extensions with the key sip, and of accounts of links of type phones.
func TelephoneNumbers(cfg *config.Config) (numbers []string) {
	for _, e := range cfg.Switch.Extensions {
		if e.SIP != nil {
			numbers = append(numbers, e.Number)
		}
	}
	for _, l := range cfg.Links {
		if settings, ok := l.Settings.(*desk.Settings); ok {
			numbers = append(numbers, settings.Numbers()...)
		}
	}
	return numbers
}

// addressOf returns the address of the first listener; server is "" if it listens at every address.
func addressOf(listeners []config.Listener) (server, port string) {
	server, port, _ = net.SplitHostPort(listeners[0].Address) // checked by config
	if address, err := netip.ParseAddr(server); err == nil && address.IsUnspecified() {
		server = ""
	}
	return server, port
}

// withoutPasswords returns a switch without the passwords of its telephones' accounts.
func withoutPasswords(cfg config.Switch) config.Switch {
	cfg.Extensions = slices.Clone(cfg.Extensions)
	for i, e := range cfg.Extensions {
		if e.SIP != nil {
			account := *e.SIP
			account.Password, account.PasswordFile = "", ""
			cfg.Extensions[i].SIP = &account
		}
	}
	return cfg
}

// mediaAddress returns the default address for voice, that of the first listener.
func mediaAddress(listeners []config.Listener) netip.Addr {
	address, err := netip.ParseAddrPort(listeners[0].Address)
	if err != nil { // the address of the listener is empty or a name
		return netip.IPv4Unspecified()
	}
	return address.Addr()
}
