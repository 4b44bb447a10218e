"""Put a cache before a model: exact and semantic hits, misses with reasons, scopes, a decorator.

Needs the extra `local` and, once, `bsc model install`.
"""

from binary_semantic_cache import Request, SemanticCache

ANSWERS = {
    "How do I undo the last commit but keep my changes?": "Run `git reset --soft HEAD~1`.",
    "How long should I boil an egg for a soft yolk?": "Six minutes.",
}


def ask_model(prompt: str) -> str:
    print(f"  (the model is asked: {prompt})")
    return ANSWERS.get(prompt, "I do not know.")


with SemanticCache() as cache:  # SemanticCache("answers.db") keeps it, and shares it between processes
    for question in ANSWERS:
        cache.get_or_compute(question, ask_model)

    for question in (
        "How do I undo the last commit but keep my changes?",
        "How can I undo my last commit and keep my changes?",
        "How do I undo the last 3 commits but keep my changes?",
        "Undo the last commit.",
    ):
        verdict = cache.lookup(question)
        print(question)
        if verdict:
            print(f"  {verdict.kind} hit: {verdict.response} (asked before: {verdict.prompt})")
        else:
            print(f"  miss: {verdict.reason}" + (f" ({verdict.detail})" if verdict.detail else ""))

    # A request of a model's API: all but the last user text belongs to the scope.
    body = {
        "model": "some-model",
        "messages": [
            {"role": "system", "content": "Answer like a pirate."},
            {"role": "user", "content": "How long should I boil an egg for a soft yolk?"},
        ],
    }
    print("the same question to a pirate:", cache.lookup(Request.from_openai_chat(body)).reason)

    @cache.cached(ttl_seconds=3600)
    def translate(text: str, language: str) -> str:
        return f"<{text} in {language}>"

    print(translate("Where is the library?", "es"), translate("Where is the library?", "fr"))
    print(cache.explain("How do I undo the last 3 commits but keep my changes?"))
    print(f"hit rate {cache.stats().hit_rate:.0%}, misses {cache.stats().misses}")
