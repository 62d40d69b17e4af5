// Package lvs is documentation only: a map of the packages of this module.
package lvs
