//! A tokenizer and a network that fit.

use std::sync::{Mutex, TryLockError};
use std::thread;

use crate::Error;
use crate::kernel::Kernel;
use crate::network::{DIM, Network, Room, WINDOW, WORDS};
use crate::tokenizer::Tokenizer;

/// Texts to embeddings. Safe to share between threads, and to use after a fork.
pub struct TextModel {
    tokenizer: Tokenizer,
    network: Network,
    kernel: &'static Kernel,
    /// Memory of runs that have ended. Never waited for: after a fork another thread's hold on it is for ever.
    rooms: Mutex<Vec<Room>>,
}

impl TextModel {
    /// Reads `model.onnx` and `tokenizer.json`.
    ///
    /// `isa` names the instruction set ("scalar", "avx2", "avx512"), else the fastest is taken. The scalar code is the
    /// definition, a hundred times slower than ONNX Runtime, and only taken when it is named.
    ///
    /// # Errors
    ///
    /// [`Error::Network`] and [`Error::Tokenizer`] for files of another model, [`Error::Isa`].
    pub fn read(network: &[u8], tokenizer: &[u8], isa: Option<&str>) -> Result<Self, Error> {
        let kernel = match isa {
            Some(name) => Kernel::available().into_iter().find(|kernel| kernel.name == name),
            None => Kernel::available().into_iter().skip(1).next_back(),
        };
        let kernel = kernel.ok_or_else(|| Error::Isa(isa.unwrap_or("none of them").to_owned()))?;
        let network = Network::read(network)?;
        let tokenizer = Tokenizer::read(tokenizer, WORDS)?;
        Ok(Self { tokenizer, network, kernel, rooms: Mutex::new(Vec::new()) })
    }

    /// The names that `isa` may have on this machine, slowest first.
    #[must_use]
    pub fn available_isas() -> Vec<&'static str> {
        Kernel::available().into_iter().map(|kernel| kernel.name).collect()
    }

    /// The instruction set in use.
    #[must_use]
    pub fn isa(&self) -> &'static str {
        self.kernel.name
    }

    /// The ids of the tokens of the whole of `text`, with those that mark its start and end.
    #[must_use]
    pub fn token_ids(&self, text: &str) -> Vec<u32> {
        self.tokenizer.encode(text)
    }

    /// Writes the embedding of each text to its row of `embeddings`, which are [`DIM`] long.
    ///
    /// Of a text with more than [`WINDOW`] tokens the first ones and the end mark are embedded.
    /// `threads` share the texts; fewer where no more can be started. They end before this returns.
    pub fn embed(&self, texts: &[&str], embeddings: &mut [f32], threads: usize) {
        let jobs = Mutex::new(texts.iter().zip(embeddings.chunks_exact_mut(DIM)));
        thread::scope(|scope| {
            for _ in 1..threads.min(texts.len()) {
                // Its texts fall to the others.
                let _ = thread::Builder::new().spawn_scoped(scope, || self.work(&jobs));
            }
            self.work(&jobs);
        });
    }

    fn work<'a>(&self, jobs: &Mutex<impl Iterator<Item = (&'a &'a str, &'a mut [f32])>>) {
        let mut room = self.take_room();
        let next = || jobs.lock().ok().and_then(|mut jobs| jobs.next());
        while let Some((text, embedding)) = next() {
            let mut ids = self.tokenizer.encode(text);
            if let [.., last] = ids[..]
                && ids.len() > WINDOW
            {
                ids.truncate(WINDOW - 1);
                ids.push(last);
            }
            self.network.embed(self.kernel, &ids, &mut room, embedding);
        }
        if let Ok(mut rooms) = self.rooms.try_lock() {
            rooms.push(room);
        }
    }

    fn take_room(&self) -> Room {
        match self.rooms.try_lock() {
            Ok(mut rooms) => rooms.pop().unwrap_or_default(),
            Err(TryLockError::WouldBlock | TryLockError::Poisoned(_)) => Room::default(),
        }
    }
}
