package config

import "time"

// Peer is an entry of trusted.
type Peer struct {
	Address     string `yaml:"address"`
	Certificate string `yaml:"certificate"`
}

// Digest is the key digest.
type Digest struct {
	Realm string `yaml:"realm"`
	MD5   bool   `yaml:"md5"`
	Users []User `yaml:"users"`
}

// User is an entry of digest.users.
type User struct {
	Name         string `yaml:"name"`
	Password     string `yaml:"password"`
	PasswordFile string `yaml:"password-file"`
}

// Group is an entry of groups: identities.
type Group struct {
	Name    string   `yaml:"name"`
	Members []string `yaml:"members"`
}

// DeviceGroup is an entry of device-groups, or of destinations.
type DeviceGroup struct {
	Name    string   `yaml:"name"`
	Devices []string `yaml:"devices"`
}

// Lines is the key lines: the devices that belong to each identity.
type Lines struct {
	Own  []OwnLines `yaml:"own"`
	File string     `yaml:"file"`
	LDAP LDAP       `yaml:"ldap"`
}

// LDAP is the key lines.ldap.
type LDAP struct {
	URL          string        `yaml:"url"`
	StartTLS     bool          `yaml:"start-tls"`
	CA           string        `yaml:"ca"`
	User         string        `yaml:"user"`
	Password     string        `yaml:"password"`
	PasswordFile string        `yaml:"password-file"`
	Base         string        `yaml:"base"`
	Filter       string        `yaml:"filter"`
	Identity     string        `yaml:"identity"`
	Line         string        `yaml:"line"`
	Refresh      time.Duration `yaml:"refresh"`
}

// OwnLines is an entry of lines.own.
type OwnLines struct {
	Who     string   `yaml:"who"`
	Devices []string `yaml:"devices"`
}

// Rule is an entry of rules.
type Rule struct {
	Name         string   `yaml:"name"`
	Deny         bool     `yaml:"deny"`
	Who          []string `yaml:"who"`
	May          []string `yaml:"may"`
	Devices      []string `yaml:"devices"`
	Destinations []string `yaml:"destinations"`
	Fronts       []string `yaml:"fronts"`
	Hours        []string `yaml:"hours"`
	Rate         string   `yaml:"rate"`
}

// Grant is an entry of grants.
type Grant struct {
	Who        string   `yaml:"who"`
	Observe    []string `yaml:"observe"`
	Control    []string `yaml:"control"`
	Dial       []string `yaml:"dial"`
	Administer bool     `yaml:"administer"`
}
