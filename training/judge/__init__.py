"""Training pairs, features, trees and measurements of the judge; `docs/judge.md` describes them."""
