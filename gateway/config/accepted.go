package config

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// accepted says in a few words what a key takes. Error messages and the
// reference page share it.
func (k *key) accepted() string {
	switch k.shape {
	case asText:
		return "text"
	case asName:
		return "lower-case letters, digits and hyphens, at most 63"
	case asNameList:
		return "a list of names, as [battery, wallbox]"
	case asHost:
		return "a host name"
	case asHostList:
		return "a list, as [gateway.example.net]"
	case asEnum:
		return strings.Join(k.values, ", ")
	case asFlag:
		return "true, false"
	case asHours:
		return fmt.Sprintf("a list of %d numbers in %s from %s to %s", hoursOfDay, k.unit, plainNumber(k.span.low), plainNumber(k.span.high))
	case asInteger, asNumber:
		return k.acceptedNumber()
	case asDuration:
		return fmt.Sprintf("a duration from %s to %s", FormatDuration(seconds(k.span.low)), FormatDuration(seconds(k.span.high)))
	case asSecret:
		return secretForms
	case asMeterID:
		return "a UUID, as afce893d-ea68-487f-9f8c-778b1881f60a"
	case asURL:
		return "https://HOST/PATH"
	case asEndpoint:
		if k.name == "tcp" {
			return "HOST or HOST:PORT, as 192.168.1.20:502"
		}
		return "HOST:PORT, as 127.0.0.1:8645"
	case asZone:
		return "an IANA time zone, as America/Los_Angeles"
	case asPath:
		return "an absolute path"
	case asGPIO:
		return "GPIO17, gpiochip0:17, pinctrl-rp1:17"
	case asClock:
		return "a time of day from 00:00 to 23:59, as 07:30"
	case asVoluntary:
		return "follow, ignore, follow-above-soc:50"
	}
	return ""
}

func (k *key) acceptedNumber() string {
	if k.values != nil {
		return strings.Join(k.values, ", ")
	}
	s := "a number"
	if k.shape == asInteger {
		s = "a whole number"
	}
	if k.unit != "" {
		s += " in " + k.unit
	}
	switch {
	case k.span == nil:
		return s
	case k.span.above:
		return fmt.Sprintf("%s, more than %s and at most %s", s, plainNumber(k.span.low), plainNumber(k.span.high))
	}
	return fmt.Sprintf("%s from %s to %s", s, plainNumber(k.span.low), plainNumber(k.span.high))
}

// plainNumber writes a number without an exponent.
func plainNumber(f float64) string { return strconv.FormatFloat(f, 'f', -1, 64) }

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }

// FormatDuration writes a duration in the way a config does: "90s", "5m",
// "400d", "1h30m". ParseDuration reads it back.
func FormatDuration(d time.Duration) string {
	const day = 24 * time.Hour
	switch {
	case d == 0:
		return "0s"
	case d%day == 0:
		return fmt.Sprintf("%dd", d/day)
	case d%time.Minute != 0:
		return d.String()
	}
	s := ""
	if h := d / time.Hour; h > 0 {
		s = fmt.Sprintf("%dh", h)
	}
	if m := d % time.Hour / time.Minute; m > 0 {
		s += fmt.Sprintf("%dm", m)
	}
	return s
}
