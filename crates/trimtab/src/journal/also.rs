//! Which objects a story is also about: a controller may decide about Deployments, and people ask about the plan whose
//! status it writes. Not the stories themselves.

use std::collections::HashMap;

use super::Place;

/// So many objects a story is about at most; the oldest are forgotten first.
const MOST: usize = 8;

/// The objects of stories, and the stories of objects. Only stories that are about something else are in it.
#[derive(Default)]
pub(super) struct Also {
    objects: HashMap<Place, Vec<Place>>,
    stories: HashMap<Place, Vec<Place>>,
}

impl Also {
    /// Notes that a story is about an object too.
    pub(super) fn note(&mut self, story: &Place, object: Place) {
        let objects = self.objects.entry(story.clone()).or_default();
        if let Some(at) = objects.iter().position(|known| *known == object) {
            // Named again: it is the last to be forgotten.
            if let Some(later) = objects.get_mut(at..) {
                later.rotate_left(1);
            }
            return;
        }
        objects.push(object.clone());
        let forgotten = (objects.len() > MOST).then(|| objects.remove(0));
        self.stories.entry(object).or_default().push(story.clone());
        if let Some(object) = forgotten {
            self.unlink(&object, story);
        }
    }

    /// The stories that are about an object.
    pub(super) fn stories(&self, object: &Place) -> &[Place] {
        self.stories.get(object).map_or(&[], Vec::as_slice)
    }

    /// What can be asked about.
    pub(super) fn objects(&self) -> impl Iterator<Item = &Place> {
        self.stories.keys()
    }

    /// Forgets a story.
    pub(super) fn forget(&mut self, story: &Place) {
        for object in self.objects.remove(story).unwrap_or_default() {
            self.unlink(&object, story);
        }
    }

    fn unlink(&mut self, object: &Place, story: &Place) {
        let Some(stories) = self.stories.get_mut(object) else { return };
        stories.retain(|known| known != story);
        if stories.is_empty() {
            self.stories.remove(object);
        }
    }
}
